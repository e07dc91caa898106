"""Which commit runs where: the environments, and the applications that Argo CD makes of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.files import merged

ROOT = Path(__file__).resolve().parents[3]
GITOPS = ROOT / "deploy" / "gitops"
ENVIRONMENTS = {path.stem: yaml.safe_load(path.read_text()) for path in (GITOPS / "environments").glob("*.yaml")}
PROJECT = yaml.safe_load((GITOPS / "project.yaml").read_text())
SETS = list(yaml.safe_load_all((GITOPS / "applicationset.yaml").read_text()))


def fill(value: Any, facts: dict[str, Any]) -> Any:
    """A template with its fields, as Argo CD's goTemplate with missingkey=error; KeyError for a field that is missing."""
    if isinstance(value, dict):
        return {key: fill(item, facts) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, facts) for item in value]
    if isinstance(value, str):
        return re.sub(r"\{\{ \.(\w+) \}\}", lambda match: str(facts[match[1]]), value)
    return value


def applications(environment: str) -> list[dict[str, Any]]:
    """Applications of an environment."""
    made = []
    for item in SETS:
        spec = item["spec"]
        (generator,) = spec["generators"]
        assert generator["git"]["files"] == [{"path": "deploy/gitops/environments/*.yaml"}]
        assert spec["goTemplateOptions"] == ["missingkey=error"]
        facts = ENVIRONMENTS[environment]
        application = fill(spec["template"], facts)
        text = re.fullmatch(r"\{\{- if \.automatic \}\}\n(.*)\{\{- end \}\}\n", spec["templatePatch"], re.DOTALL)
        assert text, "the patch is the one that is understood here"
        if facts["automatic"]:
            application["spec"]["syncPolicy"] |= yaml.safe_load(text[1])["spec"]["syncPolicy"]
        made.append(application)
    return made


@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
def test_what_runs_is_a_fixed_commit_and_its_image(environment: str) -> None:
    facts = ENVIRONMENTS[environment]
    assert facts["environment"] == environment
    assert re.fullmatch(r"v\d+\.\d+\.\d+(rc\d+)?|[0-9a-f]{40}", facts["revision"]), "a branch moves"
    assert facts["imageTag"] != "latest"
    if facts["revision"].startswith("v"):
        assert facts["revision"] == f"v{facts['imageTag']}", "values of one version, image of another"
    dagster = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"dagster=={facts['chartVersion']}" in dagster


def test_environments_are_those_of_the_values() -> None:
    """Tests of every environment would be none if their folder were empty."""
    assert sorted(ENVIRONMENTS) == ["production", "staging"]
    assert len(SETS) == 3


def test_production_is_synchronised_by_people() -> None:
    assert ENVIRONMENTS["production"]["automatic"] is False
    assert ENVIRONMENTS["staging"]["automatic"] is True
    assert all("automated" not in a["spec"]["syncPolicy"] for a in applications("production"))
    assert all("automated" in a["spec"]["syncPolicy"] for a in applications("staging"))


@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
def test_applications_name_what_is_here_and_what_is_allowed(environment: str) -> None:
    made = {a["metadata"]["name"]: a for a in applications(environment)}
    assert set(made) == {f"roman-{environment}-{part}" for part in ("platform", "dashboards", "dagster")}
    allowed = PROJECT["spec"]
    for application in made.values():
        spec = application["spec"]
        assert spec["project"] == PROJECT["metadata"]["name"]
        assert spec["destination"]["namespace"] in {d["namespace"] for d in allowed["destinations"]}
        sources = spec["sources"] if "sources" in spec else [spec["source"]]
        for source in sources:
            assert source["repoURL"] in allowed["sourceRepos"]
            if "chart" not in source:
                assert source["targetRevision"] == ENVIRONMENTS[environment]["revision"]
            if "path" in source:
                assert (ROOT / source["path"] / "kustomization.yaml").exists(), source["path"]
            for file in source.get("helm", {}).get("valueFiles", []):
                assert (ROOT / file.removeprefix("$values/")).exists(), file
    assert len({a["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] for a in made.values()}) == 3


@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
def test_parameters_of_the_image_are_values_of_the_chart(environment: str) -> None:
    """A parameter that hits no value sets nothing, and the old image would run on."""
    (dagster,) = [a for a in applications(environment) if a["metadata"]["name"].endswith("-dagster")]
    helm = dagster["spec"]["sources"][0]["helm"]
    assert helm["releaseName"] == "dagster", "names of services and ConfigMaps in helm_values/manifests begin with it"
    values = merged(environment)
    images = set()
    for parameter in helm["parameters"]:
        found: Any = values
        for key in re.findall(r"[\w-]+", parameter["name"]):
            found = found[int(key)] if isinstance(found, list) else found[key]
        assert isinstance(found, str)
        images.add((parameter["name"].rsplit(".", 1)[1], parameter["value"]))
    facts = ENVIRONMENTS[environment]
    assert images == {("repository", facts["imageRepository"]), ("tag", facts["imageTag"])}
    assert len(helm["parameters"]) == 6


def test_the_project_allows_nothing_of_the_cluster_as_a_whole() -> None:
    assert PROJECT["spec"]["clusterResourceWhitelist"] == []
    assert {d["namespace"] for d in PROJECT["spec"]["destinations"]} == {"roman", "monitoring"}


def test_environments_run_in_accounts_and_clusters_of_their_own() -> None:
    for key in ("imageRepository", "cluster"):
        assert len({facts[key] for facts in ENVIRONMENTS.values()}) == len(ENVIRONMENTS)
