"""The templates as values, and what a walk over them finds."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "infrastructure"


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("document_infrastructure", FOLDER / "document.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


document = _module()
NAMES: tuple[str, ...] = document.ORDER
TEMPLATES: dict[str, dict[str, Any]] = {name: document.template(name) for name in NAMES}


def resources(*kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every resource of the kinds (none: all), as (template.name, resource)."""
    for name, template in TEMPLATES.items():
        for key, resource in template["Resources"].items():
            if not kinds or resource["Type"] in kinds:
                yield f"{name}.{key}", resource


def walk(value: Any) -> Iterator[Any]:
    """Every value within a value."""
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(item)


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of a policy that roles of ours have: not those of keys, buckets and topics, nor trust."""
    for name, resource in resources("AWS::IAM::Role", "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy"):
        properties = resource["Properties"]
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for document in documents:
            for statement in document["Statement"]:
                yield name, statement
