"""What every kind of asset needs of a pod: the one place for sizes, nodes, spot use, pools and priorities.

Run pods read run tags only and step pods `op_tags` only, so the profiles go on the assets and the deployed
code location runs each step in a pod of its own (k8s_job_executor, see orchestration/definitions.py).

ROMAN_PODS changes sizes for a cluster whose nodes are smaller or data larger, as YAML by profile and field, such as
`{images: {memory: 12Gi}, bigmem: {scratch: 50Gi}}`.

Nodes are asked for so that a profile works in any cluster: a step tolerates the taints of its node group and of spot
nodes, and prefers nodes with the group's label. ROMAN_NODE_POOLS=required turns the preference into a selector, for
clusters where every group exists (infrastructure with node groups that scale to zero needs it: an autoscaler starts a
node for what a pod requires, not for what it prefers).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from roman_assets.errors import InputError

#: Label, and key of the taint, of the nodes of a profile: `roman-assets/pool=images`.
NODE_LABEL = "roman-assets/pool"
#: Label and key of the taint of nodes that may vanish: `roman-assets/spot=true`.
SPOT_LABEL = "roman-assets/spot"
#: `preferred` (default) or `required`: how strictly steps ask for the nodes of their profile.
NODE_POOLS = "ROMAN_NODE_POOLS"
#: Sizes that differ from those below, as YAML.
SIZES = "ROMAN_PODS"
#: What a step has, between SIGTERM and SIGKILL, to say that it was stopped and to let go of its pool's slot.
GRACE_S = 60
#: How long the finished Job of a run or step is kept for whoever looks at its pod.
KEEP_FINISHED_S = 24 * 3600


@dataclass(frozen=True)
class PodProfile:
    """Requests and limits of a step's container, its scratch disk, how long it may run, and where.

    A step with `spot` may run on a node that is taken away: another pod does it again.
    """

    name: str
    cpu: str
    memory: str
    deadline_s: int
    scratch: str | None = None
    spot: bool = False

    def op_tags(self, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Tags for an asset; checked strictly by a test, since Dagster accepts misspelt keys until launch.

        Raises
        ------
        InputError
            ROMAN_NODE_POOLS or ROMAN_PODS has words that mean nothing.
        """
        changed = _sizes(os.environ if environment is None else environment).get(self.name, {})
        return replace(self, **changed)._tags(node_pools(environment))

    def _tags(self, mode: str) -> dict[str, Any]:
        most = {"memory": self.memory} | ({"ephemeral-storage": self.scratch} if self.scratch else {})
        # Dagster merges nested dictionaries of tags, launcher and executor: only what differs is named here.
        pod = {
            "restart_policy": "Never",
            "termination_grace_period_seconds": GRACE_S,
            "tolerations": self._tolerations(),
            **self._nodes(mode),
        }
        return {
            "dagster-k8s/config": {
                "container_config": {"resources": {"requests": {"cpu": self.cpu, **most}, "limits": most}},
                "pod_template_spec_metadata": {"labels": {NODE_LABEL: self.name}},
                "pod_spec_config": pod,
                "job_spec_config": {
                    "active_deadline_seconds": self.deadline_s,
                    "ttl_seconds_after_finished": KEEP_FINISHED_S,
                },
            }
        }

    def _tolerations(self) -> list[dict[str, str]]:
        own = {"key": NODE_LABEL, "operator": "Equal", "value": self.name, "effect": "NoSchedule"}
        spot = {"key": SPOT_LABEL, "operator": "Exists", "effect": "NoSchedule"}
        return [own, spot] if self.spot else [own]

    def _nodes(self, mode: str) -> dict[str, Any]:
        """Node selector and affinity; spot nodes are cheaper, and so preferred, where they are allowed."""
        wanted = [] if mode == "required" else [_prefer(NODE_LABEL, self.name, 100)]
        wanted += [_prefer(SPOT_LABEL, "true", 50)] if self.spot else []
        nodes: dict[str, Any] = {"node_selector": {NODE_LABEL: self.name}} if mode == "required" else {}
        if wanted:
            nodes["affinity"] = {"node_affinity": {"preferred_during_scheduling_ignored_during_execution": wanted}}
        return nodes


def node_pools(environment: Mapping[str, str] | None = None) -> str:
    """How strictly steps ask for their nodes; InputError for a word that means nothing."""
    mode = (os.environ if environment is None else environment).get(NODE_POOLS) or "preferred"
    if mode not in ("preferred", "required"):
        raise InputError(f"{mode!r} means nothing", field=NODE_POOLS, remedy="use preferred or required")
    return mode


def _sizes(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Fields to change, by profile; InputError unless every name and type is one of a profile's."""
    text = environment.get(SIZES)
    if not text:
        return {}
    import yaml

    known = {f.name for f in fields(PodProfile)} - {"name"}
    remedy = f"write {{PROFILE: {{FIELD: VALUE}}}} with fields {', '.join(sorted(known))}"
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"no YAML: {error}", field=SIZES, remedy=remedy) from error
    names = {profile.name for profile in PROFILES}
    if not isinstance(given, dict) or not all(isinstance(v, dict) for v in given.values()):
        raise InputError("not a mapping of mappings", field=SIZES, remedy=remedy)
    for name, changes in given.items():
        if name not in names:
            raise InputError(f"no profile {name!r}", field=SIZES, remedy=f"use {', '.join(sorted(names))}")
        for field, value in changes.items():
            kind = {"deadline_s": int, "spot": bool}.get(field, str)
            if field not in known or type(value) is not kind:
                raise InputError(f"{name}: {field}: {value!r} cannot be used", field=SIZES, remedy=remedy)
    return dict(given)


def _prefer(label: str, value: str, weight: int) -> dict[str, Any]:
    rule = {"key": label, "operator": "In", "values": [value]}
    return {"weight": weight, "preference": {"match_expressions": [rule]}}


#: Registry queries and manifests.
LIGHT = PodProfile("light", "250m", "1Gi", 1800, spot=True)
#: One detector's exposures of a day, or the stack of a catalogue: images and sparse normal matrices. What a lost node
#: costs is one exposure.
IMAGES = PodProfile("images", "1", "6Gi", 6 * 3600, spot=True)
#: One detector's dispersed exposures of a day; an exposure is a part, too.
SPECTRA = PodProfile("spectra", "1", "8Gi", 12 * 3600, spot=True)
#: One detector's season of light curves: made as a whole, so a lost node would cost all of it.
SEASON = PodProfile("season", "1", "12Gi", 6 * 3600)
#: The residuals of one detector's season: every exposure is read twice, bins and cut-outs lie on the scratch disk.
BIGMEM = PodProfile("bigmem", "1", "12Gi", 24 * 3600, "200Gi")
PROFILES = (LIGHT, IMAGES, SPECTRA, SEASON, BIGMEM)

#: Pools limit how many steps run at once across runs, and so what S3 and PostgreSQL must bear; `roman migrate` sets
#: the limits of a new installation (ROMAN_POOLS=images=400,season=60), `dagster instance concurrency` changes them.
POOL_IMAGES, POOL_SEASON = "images", "season"
POOL_LIMITS = {POOL_IMAGES: 400, POOL_SEASON: 60}

#: Tag of a run: higher ones leave the queue first. What alerts depend on goes before what can wait.
PRIORITY = "dagster/priority"
PRIORITY_DAY, PRIORITY_CATALOGUE, PRIORITY_SEASON, PRIORITY_EFFICIENCY = "20", "15", "5", "-5"
