"""Writes the tables of parameters and outputs into docs/infrastructure.md, from the templates (make docs)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "infrastructure.md"
#: In the order in which stacks are made: each takes what those before it put out.
ORDER = ("keys", "network", "storage", "registry", "eks", "database", "roles", "alarms")
START, END = "<!-- made by deploy/infrastructure/document.py -->\n", "<!-- end -->\n"


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, as plain values."""


def _short(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix == "Ref" or suffix == "Condition" else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name: value}


_Loader.add_multi_constructor("!", _short)


def template(name: str) -> dict[str, Any]:
    """A template with its short forms written out."""
    return dict(yaml.load((HERE / f"{name}.yaml").read_text(), Loader=_Loader))


def tables() -> str:
    """Markdown of all templates."""
    parts = []
    for name in ORDER:
        body = template(name)
        parts.append(f"### `deploy/infrastructure/{name}.yaml`\n")
        what = body["Description"].split(": ", 1)[1]
        parts.append(f"{what[0].upper()}{what[1:]}\n")
        parts.append("| parameter | default | meaning |\n|---|---|---|")
        for key, value in body["Parameters"].items():
            default = value.get("Default", "**needed**")
            shown = default if default == "**needed**" else f"`{default}`" if default != "" else "none"
            parts.append(f"| `{key}` | {shown} | {value['Description']} |")
        parts.append("")
        outputs = ", ".join(f"`{key}`" for key in body.get("Outputs", {}))
        parts.append(f"Puts out {outputs}.\n")
    return "\n".join(parts)


def page(text: str) -> str:
    """The page with its tables made anew."""
    return re.sub(f"(?s){START}.*{END}", lambda _: f"{START}\n{tables()}\n{END}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
    print(PAGE.relative_to(ROOT))
