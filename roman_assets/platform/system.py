"""What a system declares of itself: its assets, each in one row, and its jobs.

Everything else that must be known of an asset follows from its row: code version, gates, promise, pod, job, the order of
processing, what reconciliation compares, what a backfill may mix, what the exporter measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from roman_assets.platform.pods import PodProfile

#: Which keys an asset has: a day or a season of a detector, a region of the sky.
PartitionKind = Literal["day", "season", "bulge region", "spectroscopic day", "spectroscopic region"]
#: When a partition's clock starts: the end of its day; of its season; of its season's first day; for sky regions,
#: which have no day, the end of the newest season or day with products.
Start = Literal["day", "season", "season's first day", "spectroscopic day", "bulge season", "spectroscopic survey day"]
#: How an asset's keys follow from those of what it is made of: the same ones, the season's days, the day's season, all.
Over = Literal["same", "its days", "its season", "all"]


@dataclass(frozen=True)
class Promise:
    """When an asset's clock starts, within how many hours it is there, and its work.

    Attributes
    ----------
    work
        Entry of a materialization's metadata that counts the work of its step; ``new_rows:KIND`` counts the rows of
        products of a kind that were made rather than found. None: not counted.
    unit
        What the work is counted in.
    """

    start: Start
    hours: float
    work: str | None = None
    unit: str = ""

    @property
    def text(self) -> str:
        """For people."""
        return f"within {self.hours:g} h of the end of the {self.start}"


@dataclass(frozen=True)
class Gate:
    """A quality gate: what it asks, and whether it stops what is downstream in the same run."""

    description: str
    severe: bool = False


@dataclass(frozen=True)
class AssetFacts:
    """One asset.

    Attributes
    ----------
    code
        Code version: raised when its results change (a golden-output test guards them).
    stage
        ``module:function`` in the system's stages, called with the workspace, the keys of the partition, the settings
        if there are any, and a function for progress.
    made_of
        Assets that it reads, and how their keys follow from its own.
    products
        Kinds of products that make up a partition.
    closes
        The kind that is written last where there are several: a partition without it is not complete.
    settings
        ``module:class`` of its run configuration, in the system.
    step
        Name of the step that makes it together with other assets of the same stage; empty: a step of its own.
    """

    name: str
    partition: PartitionKind
    job: str
    code: str
    description: str
    kinds: frozenset[str]
    stage: str
    products: tuple[str, ...]
    promise: Promise
    profile: PodProfile
    made_of: Mapping[str, Over] = field(default_factory=dict)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    pool: str | None = None
    closes: str | None = None
    settings: str | None = None
    group: str = ""
    step: str = ""


@dataclass(frozen=True)
class JobFacts:
    """A job: assets of one kind of partition that run together, and their priority in the queue."""

    name: str
    description: str
    priority: str


@dataclass(frozen=True)
class System:
    """A system of the Science Support Center.

    Attributes
    ----------
    package
        Python package that holds its stages.
    assets
        In the order in which they are processed.
    sensors
        ``module:function`` in the package that builds its sensors of the partitions, the workspace and the jobs by name.
    """

    name: str
    package: str
    owner: str
    assets: tuple[AssetFacts, ...]
    jobs: tuple[JobFacts, ...]
    sensors: str

    @property
    def code(self) -> dict[str, str]:
        """Code version of every asset."""
        return {asset.name: asset.code for asset in self.assets}

    def group_of(self, asset: AssetFacts) -> str:
        """Group of an asset in the UI and in metrics."""
        return asset.group or self.name

    def of_job(self, job: str) -> tuple[AssetFacts, ...]:
        """Assets of a job."""
        return tuple(asset for asset in self.assets if asset.job == job)

    def batches(self) -> list[tuple[str, tuple[AssetFacts, ...]]]:
        """Jobs with those of their assets that can be processed in one go, in order: what follows may need all of it."""
        return [(job, tuple(assets)) for job, assets in groupby(self.assets, key=lambda asset: asset.job)]
