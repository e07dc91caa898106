"""Pod profiles, and what every asset, job and step of the code location asks of a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from roman_assets.errors import InputError
from roman_assets.platform import pods

TAG = "dagster-k8s/config"
RESOURCE_NAMES = {"cpu", "memory", "ephemeral-storage"}


def check_pod_config(config: Mapping[str, Any]) -> None:
    """Raises unless a pod can be made of `config`: every key, to any depth, and every quantity."""
    from dagster._config import validate_config
    from dagster_k8s.job import USER_DEFINED_K8S_JOB_CONFIG_SCHEMA, UserDefinedDagsterK8sConfig
    from dagster_k8s.models import k8s_model_from_dict
    from kubernetes.client import models
    from kubernetes.utils.quantity import parse_quantity

    result = validate_config(USER_DEFINED_K8S_JOB_CONFIG_SCHEMA, dict(config))
    assert result.success, [error.message for error in result.errors or []]
    parsed = UserDefinedDagsterK8sConfig.from_dict(dict(config))
    container = k8s_model_from_dict(models.V1Container, {"name": "step", **parsed.container_config})
    k8s_model_from_dict(models.V1PodSpec, {"containers": [], **parsed.pod_spec_config})
    k8s_model_from_dict(models.V1ObjectMeta, dict(parsed.pod_template_spec_metadata))
    k8s_model_from_dict(models.V1JobSpec, {"template": {}, **parsed.job_spec_config})
    for amounts in (container.resources.requests, container.resources.limits):
        assert set(amounts) <= RESOURCE_NAMES, amounts
        for amount in amounts.values():
            assert parse_quantity(amount) > 0
    assert parse_quantity(container.resources.limits["memory"]) >= parse_quantity(
        container.resources.requests["memory"]
    )


@pytest.mark.parametrize("mode", ["preferred", "required"])
@pytest.mark.parametrize("profile", pods.PROFILES, ids=lambda profile: profile.name)
def test_pod_profile_makes_a_valid_pod(profile, mode):
    config = profile.op_tags({pods.NODE_POOLS: mode})[TAG]
    check_pod_config(config)
    assert config["job_spec_config"]["active_deadline_seconds"] == profile.deadline_s > 0


def test_a_profile_runs_in_any_cluster_or_on_its_nodes_only():
    """Preferred: no selector, so a cluster without these nodes runs it. Required: the selector, for autoscalers."""
    preferred = pods.BIGMEM.op_tags({})[TAG]["pod_spec_config"]
    assert "node_selector" not in preferred
    assert preferred["affinity"]["node_affinity"].keys() == {"preferred_during_scheduling_ignored_during_execution"}
    required = pods.BIGMEM.op_tags({pods.NODE_POOLS: "required"})[TAG]["pod_spec_config"]
    assert required["node_selector"] == {pods.NODE_LABEL: "bigmem"}
    assert "affinity" not in required
    with pytest.raises(InputError, match="use preferred or required"):
        pods.BIGMEM.op_tags({pods.NODE_POOLS: "always"})


def test_only_what_can_be_done_again_runs_on_spot_nodes():
    """A lost node costs a day's step one exposure, a season's all of it."""
    tolerant = {p.name for p in pods.PROFILES if tolerates_spot(p)}
    assert tolerant == {"light", "images", "spectra"}
    assert tolerant == {p.name for p in pods.PROFILES if p.spot}


def tolerates_spot(profile) -> bool:
    tolerations = profile.op_tags({})[TAG]["pod_spec_config"]["tolerations"]
    return any(item["key"] == pods.SPOT_LABEL for item in tolerations)


def test_sizes_can_be_changed_by_the_operator():
    sizes = {pods.SIZES: "{images: {memory: 12Gi, deadline_s: 60}, bigmem: {scratch: 50Gi}}"}
    config = pods.IMAGES.op_tags(sizes)[TAG]
    check_pod_config(config)
    assert config["container_config"]["resources"]["limits"] == {"memory": "12Gi"}
    assert config["container_config"]["resources"]["requests"]["cpu"] == pods.IMAGES.cpu
    assert config["job_spec_config"]["active_deadline_seconds"] == 60
    bigmem = pods.BIGMEM.op_tags(sizes)[TAG]["container_config"]["resources"]["limits"]
    assert bigmem == {"memory": pods.BIGMEM.memory, "ephemeral-storage": "50Gi"}
    assert pods.SEASON.op_tags(sizes) == pods.SEASON.op_tags({})


@pytest.mark.parametrize(
    "text",
    [
        "{imges: {memory: 1Gi}}",
        "{images: {memry: 1Gi}}",
        "{images: {cpu: 1}}",
        "{images: {deadline_s: '5'}}",
        "[",
        "a",
        "{images: 4Gi}",
        "{images: {name: other}}",
    ],
)
def test_sizes_that_cannot_be_meant_are_refused(text):
    with pytest.raises(InputError, match=pods.SIZES):
        pods.LIGHT.op_tags({pods.SIZES: text})


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"container_confg": {}}, 'unexpected config entry "container_confg"'),
        ({"container_config": {"resourcez": {}}}, "Unexpected keys in model class V1Container: {'resourcez'}"),
        (
            {"container_config": {"resources": {"request": {"cpu": "1"}}}},
            "Unexpected keys in model class V1ResourceRequirements: {'request'}",
        ),
        ({"container_config": {"resources": {"requests": {"cpus": "1"}, "limits": {}}}}, "{'cpus': '1'}"),
        (
            {"container_config": {"resources": {"requests": {"memory": "1GiB"}, "limits": {}}}},
            "Invalid number format: 1GiB",
        ),
        (
            {"pod_spec_config": {"restartpolicy": "Never"}},
            "Unexpected keys in model class V1PodSpec: {'restartpolicy'}",
        ),
        ({"job_spec_config": {"active_deadline": 5}}, "Unexpected keys in model class V1JobSpec: {'active_deadline'}"),
    ],
)
def test_misspelt_pod_tags_are_caught(wrong, named):
    """Dagster loads these without a word and fails at launch; the check of this file must not."""
    config = {**pods.LIGHT.op_tags()[TAG], **wrong}
    with pytest.raises(Exception, match=re.escape(named)):  # dagster_k8s itself raises no narrower one
        check_pod_config(config)


@pytest.fixture(scope="module")
def definitions(tmp_path_factory):
    from roman_assets.orchestration.definitions import build_definitions
    from roman_assets.platform.workspace import Workspace

    return build_definitions(Workspace(tmp_path_factory.mktemp("home")))


def asset_ops(definitions) -> Iterator[tuple[str, Any]]:
    for asset in definitions.assets:
        if hasattr(asset, "op"):
            yield asset.op.name, asset.op


def test_every_asset_has_a_valid_pod_and_a_known_pool(definitions):
    checked = 0
    for name, op in asset_ops(definitions):
        assert TAG in op.tags, f"{name} would run in a pod without requests or limits"
        config = op.tags[TAG]
        check_pod_config(yaml.safe_load(config) if isinstance(config, str) else config)
        assert op.pool in (None, pods.POOL_IMAGES, pods.POOL_SEASON), name
        checked += 1
    assert checked >= 8


def test_what_alerts_depend_on_leaves_the_queue_first(definitions):
    priorities = {job.name: int(job.tags[pods.PRIORITY]) for job in definitions.jobs}
    assert len(priorities) == 7
    first = {"process_day", "extract_spectra_of_day"}
    others = [number for name, number in priorities.items() if name not in first]
    assert all(priorities[name] > max(others) for name in first)
    assert priorities["establish_catalogue"] > priorities["close_season"] > priorities["measure_efficiency"]


def test_steps_are_pods_that_end_with_their_run(monkeypatch, tmp_path):
    """The deployed code location: a pod per step, owned by the run's pod, with an account of its own."""
    from dagster_k8s import k8s_job_executor

    from roman_assets.orchestration import definitions as module
    from roman_assets.platform.workspace import Workspace

    monkeypatch.setenv(module.K8S, "1")
    monkeypatch.setenv(module.STEP_ACCOUNT, "roman-science")
    executor = module.build_definitions(Workspace(tmp_path)).executor
    assert executor.executor_creation_fn is k8s_job_executor.executor_creation_fn
    config = executor.apply_config_mapping({"config": {}}).value["config"]
    assert config["enable_owner_references"] is True
    assert config["service_account_name"] == "roman-science"
