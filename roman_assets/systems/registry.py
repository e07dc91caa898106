"""Which systems there are, and their assets by name."""

from __future__ import annotations

from roman_assets.platform.system import AssetFacts, Promise, System
from roman_assets.systems.gdps.system import SYSTEM as GDPS
from roman_assets.systems.msos.system import SYSTEM as MSOS

#: In the order in which they are processed.
SYSTEMS: tuple[System, ...] = (MSOS, GDPS)
ASSETS: dict[str, AssetFacts] = {asset.name: asset for system in SYSTEMS for asset in system.assets}
#: What is promised of every asset, and its group.
PROMISES: dict[str, Promise] = {name: asset.promise for name, asset in ASSETS.items()}
GROUPS: dict[str, str] = {asset.name: system.group_of(asset) for system in SYSTEMS for asset in system.assets}
#: The last asset of each job, which gives its runs their group.
JOBS: dict[str, str] = {job.name: system.of_job(job.name)[-1].name for system in SYSTEMS for job in system.jobs}


def of_partition(*kinds: str) -> tuple[str, ...]:
    """Names of the assets with these kinds of partitions, in the order in which they are processed."""
    return tuple(name for name, asset in ASSETS.items() if asset.partition in kinds)
