"""Documentation that can be checked against the tree: links, named files, the floors of the house, variables."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "roman_assets"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "deploy/gitops/README.md", ROOT / "changelog.d/README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def section(heading: str) -> str:
    """Text of a section of the architecture page."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", ARCHITECTURE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert len(PAGES) > 10
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_the_floors_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (house,) = [contract for contract in contracts if contract["id"] == "house"]
    rows = re.findall(
        r"^\| ((?:`\w+`(?: \\\| )?)+) \|", section("The house").partition("Inside a system")[0], re.MULTILINE
    )
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [re.findall(r"\w+", layer) for layer in house["layers"]]


@pytest.mark.parametrize("name", ["where.md", "architecture.md"])
def test_files_that_are_named_exist(name: str) -> None:
    """Modules below roman_assets, or below a part of a system in the sections on science; other files from the root."""
    named = re.findall(r"`([\w./*-]+/[\w./*-]*|[\w]+\.py)`", (ROOT / "docs" / name).read_text())
    assert len(named) > 20
    for path in named:
        if path.startswith("s3:"):
            continue
        beginning = path.rstrip("/").replace("SYSTEM", "*")
        assert list(ROOT.glob(beginning)) or list(PACKAGE.rglob(beginning)) or (ROOT / "tests" / beginning).exists(), (
            path
        )


def test_there_are_ten_entries_on_where_to_change_things() -> None:
    text = (ROOT / "docs" / "where.md").read_text()
    assert re.findall(r"^(\d+)\. \*\*", text, re.MULTILINE) == [str(number) for number in range(1, 11)]


def test_every_variable_stands_in_the_table_with_its_reader() -> None:
    rows = re.findall(r"^\| (.*ROMAN_.*) \| (.+) \|$", section("Where each decision lives"), re.MULTILINE)
    listed = {name for names, _ in rows for name in re.findall(r"ROMAN_[A-Z0-9_]+", names)}
    source = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    read = {name for text in source.values() for name in re.findall(r"\"(ROMAN_[A-Z0-9_]+)\"", text)}
    assert len(read) > 15
    assert read <= listed
    assert listed - read == {"ROMAN_VALIDATION_DATA"}, "of the benchmarks"
    for names, readers in rows:
        paths = [PACKAGE / path for path in re.findall(r"`(\w+/\w+\.py)`", readers)]
        texts = [path.read_text() for path in paths if "tests" not in path.parts]
        for name in re.findall(r"ROMAN_[A-Z0-9_]+", names):
            constant = {"ROMAN_PROMISES_FROM": "SINCE", "ROMAN_ALERT_WEBHOOK": "WEBHOOK"}.get(name, name)
            assert not texts or all(name in text or re.search(rf"\b{constant}\b", text) for text in texts), name
