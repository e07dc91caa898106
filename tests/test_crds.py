"""Objects of Argo CD, external-secrets, the Prometheus operator and nodeadm, strictly, where ROMAN_CRDS has their CRDs.

ROMAN_CRDS is a folder of CustomResourceDefinitions, as those projects publish them (not committed here). What the server
would prune without a word is an error here. Rules in CEL (x-kubernetes-validations) are not evaluated.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.gitops.test_gitops import ENVIRONMENTS as DEPLOYED
from tests.deploy.gitops.test_gitops import PROJECT, SETS, applications
from tests.deploy.infrastructure.templates import resources, walk
from tests.helm.files import ENVIRONMENTS, VALUES, kustomized

GROUPS = {
    "Application": "argoproj.io/v1alpha1",
    "ApplicationSet": "argoproj.io/v1alpha1",
    "AppProject": "argoproj.io/v1alpha1",
    "ExternalSecret": "external-secrets.io/v1",
    "SecretStore": "external-secrets.io/v1",
    "NodeConfig": "node.eks.aws/v1alpha1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
}


@functools.cache
def documents() -> list[dict[str, Any]]:
    """Every object of ours that only a CRD describes; of the Prometheus operator's, what the chart makes of our values."""
    found = [PROJECT, *SETS]
    head = {"apiVersion": GROUPS["Application"], "kind": "Application"}
    found += [head | application for environment in DEPLOYED for application in applications(environment)]
    for environment in ENVIRONMENTS:
        found += [d for d in kustomized(f"helm_values/manifests/{environment}") if d["apiVersion"] in GROUPS.values()]
    stack = yaml.safe_load((VALUES / "kube-prometheus-stack.yaml").read_text())
    for monitor in stack["prometheus"]["additionalServiceMonitors"]:
        spec = {key: value for key, value in monitor.items() if key not in ("name", "additionalLabels")}
        found.append(custom("ServiceMonitor", monitor["name"], spec))
    rules = yaml.safe_load((VALUES / "prometheus-rules.yaml").read_text())
    found += [custom("PrometheusRule", name, spec) for name, spec in rules["additionalPrometheusRulesMap"].items()]
    return found + node_configs()


def node_configs() -> list[dict[str, Any]]:
    """What the nodes of an AMI of the mission's are told, one document for each group."""
    found = []
    for name, template in resources("AWS::EC2::LaunchTemplate"):
        texts = [v for v in walk(template) if isinstance(v, str) and "node.eks.aws/v1alpha1" in v]
        (document,) = re.findall(r"^apiVersion: .*?(?=^--//)", texts[0], re.DOTALL | re.MULTILINE)
        found.append({**yaml.safe_load(re.sub(r"\$\{(\w+)\}", r"\1", document)), "metadata": {"name": name}})
    return found


def custom(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": GROUPS[kind], "kind": kind, "metadata": {"name": name}, "spec": spec}


def strict(schema: dict[str, Any], *, root: bool = True) -> dict[str, Any]:
    """A structural schema as a JSON schema that refuses what Kubernetes would prune."""
    made = dict(schema)
    for key in ("properties", "additionalProperties", "items", "not"):
        value = made.get(key)
        if key == "properties" and value is not None:
            made[key] = {name: strict(item, root=False) for name, item in value.items()}
        elif isinstance(value, dict):
            made[key] = strict(value, root=False)
    open_ended = made.get("x-kubernetes-preserve-unknown-fields") or made.get("x-kubernetes-embedded-resource")
    if made.get("type") == "object" and not open_ended:
        made.setdefault("additionalProperties", False)
    if root:
        made["properties"]["metadata"] = {"type": "object"}  # a CRD says nothing of it
    if made.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    if made.pop("nullable", False) and "type" in made:
        made["type"] = [*([made["type"]] if isinstance(made["type"], str) else made["type"]), "null"]
    return made


def read_crds(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Schemas of a folder's CRDs by (apiVersion, kind)."""
    found = {}
    for path in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml"), *folder.rglob("*.json")]):
        for document in yaml.safe_load_all(path.read_text()):
            if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                spec = document["spec"]
                for version in spec["versions"]:
                    key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                    found[key] = strict(version["schema"]["openAPIV3Schema"])
    return found


@functools.cache
def crds() -> dict[tuple[str, str], dict[str, Any]]:
    return read_crds(Path(os.environ["ROMAN_CRDS"]))


def problems(document: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """What is wrong with an object, each with its path."""
    import jsonschema

    found = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{document['metadata'].get('name')}{error.json_path[1:]}: {error.message}" for error in found]


def test_every_custom_object_is_of_a_kind_that_is_checked() -> None:
    seen = {d["kind"] for d in documents()}
    assert seen == set(GROUPS)
    for document in documents():
        assert document["apiVersion"] == GROUPS[document["kind"]], document["kind"]


@pytest.mark.parametrize("kind", sorted(GROUPS))
def test_objects_are_what_their_crd_allows(kind: str) -> None:
    if not os.environ.get("ROMAN_CRDS"):
        pytest.skip("ROMAN_CRDS does not name a folder of CRDs")
    schema = crds().get((GROUPS[kind], kind))
    if schema is None:
        pytest.skip(f"ROMAN_CRDS has no CRD of {GROUPS[kind]} {kind}")
    ours = [document for document in documents() if document["kind"] == kind]
    assert ours
    assert [problem for document in ours for problem in problems(document, schema)] == []


CRD = """
kind: CustomResourceDefinition
spec:
  group: example.org
  names: {kind: Thing}
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              properties:
                port: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}
                labels: {type: object, additionalProperties: {type: string}}
                parts: {type: array, items: {type: object, required: [name], properties: {name: {type: string}}}}
                free: {type: object, x-kubernetes-preserve-unknown-fields: true}
                since: {type: string, nullable: true}
"""


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"port": 80, "labels": {"a": "b"}, "parts": [{"name": "x"}], "free": {"any": 1}, "since": None}, None),
        ({"port": "http"}, None),
        ({"prot": 80}, "t.spec: Additional properties are not allowed ('prot' was unexpected)"),
        ({"parts": [{"name": "x"}, {"nmae": "x"}]}, "t.spec.parts[1]: 'name' is a required property"),
        ({"parts": [{"name": "x", "more": 1}]}, "t.spec.parts[0]: Additional properties are not allowed"),
        ({"labels": {"a": 1}}, "t.spec.labels.a: 1 is not of type 'string'"),
        ({"port": None}, "t.spec.port: None is not of type 'integer', 'string'"),
    ],
)
def test_what_a_crd_does_not_know_is_found(tmp_path: Path, spec: dict[str, Any], said: str | None) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "thing.yaml").write_text(f"kind: Other\n---\n{CRD}")
    schema = read_crds(tmp_path)["example.org/v1", "Thing"]
    thing = {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "t", "labels": {}}, "spec": spec}
    found = problems(thing, schema)
    assert bool(found) == (said is not None), found
    assert said is None or any(problem.startswith(said) for problem in found), found
