"""What every kind of asset needs of a pod: the one place for sizes, pools and retries.

Run pods read run tags only and step pods `op_tags` only, so the profiles go on the assets and the deployed
code location runs each step in a pod of its own (k8s_job_executor, see platform/definitions.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PodProfile:
    """Requests and limits of a step's container, its scratch disk, and how long it may run."""

    cpu: str
    memory: str
    deadline_s: int
    scratch: str | None = None

    def op_tags(self) -> dict[str, Any]:
        """Tags for an asset; checked strictly by a test, since Dagster accepts misspelt keys until launch."""
        most = {"memory": self.memory} | ({"ephemeral-storage": self.scratch} if self.scratch else {})
        return {
            "dagster-k8s/config": {
                "container_config": {"resources": {"requests": {"cpu": self.cpu, **most}, "limits": most}},
                "pod_spec_config": {"restart_policy": "Never"},
                "job_spec_config": {"active_deadline_seconds": self.deadline_s},
            }
        }


#: Registry queries and manifests.
LIGHT = PodProfile("250m", "1Gi", 1800)
#: One detector's exposures of a day, or the stack of a catalogue: images and sparse normal matrices.
IMAGES = PodProfile("1", "6Gi", 6 * 3600)
#: One detector's season of light curves.
SEASON = PodProfile("1", "12Gi", 6 * 3600)
#: The residuals of one detector's season: every exposure is read twice, bins and cut-outs lie on the scratch disk.
DIFFERENCE = PodProfile("1", "12Gi", 24 * 3600, "200Gi")

#: Pools limit how many steps run at once across runs; limits are set in dagster.yaml.
POOL_IMAGES, POOL_SEASON = "images", "season"
