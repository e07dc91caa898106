"""The operations guide: every command that can be run here is, in the order of the page; the others are checked."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from roman_assets.systems.registry import PROMISES
from tests.dagster_server import free_port
from tests.operations.guide import BLOCK, GUIDE, KINDS, ROOT, blocks, commands, lines, run, sections

#: Commands that no test runs, each with its reason; every other one is run (`sh cluster`: tests/cluster/test_guide.py).
NOT_RUN = {
    "helm upgrade --install dagster dagster/dagster": "the official chart; tests/helm renders it where it is given",
    "kubectl apply -k helm_values/manifests/production": "images of a registry, roles of AWS, objects of external-secrets, "
    "a CronJob and a PodDisruptionBudget that the Kubernetes of ../shared/cluster is too old for",
    "helm upgrade --install monitoring prometheus-community/kube-prometheus-stack": "the chart of kube-prometheus-stack",
    "kubectl -n roman annotate externalsecret": "external-secrets: objects of a CustomResourceDefinition crash the API "
    "server of ../shared/cluster (1.20 under a newer Go)",
}


def test_every_block_says_what_it_needs() -> None:
    marks = [mark for mark, _ in BLOCK.findall(GUIDE)]
    assert set(marks) == set(KINDS)
    assert marks.count("run") >= 10
    assert GUIDE.count("```") == 2 * len(marks), "a block of another kind"


def test_commands_that_nobody_ran_are_listed() -> None:
    """Only those of `sh chart`; and none hides in the text, outside of the blocks."""
    left = [line for body in blocks("chart") for line in lines(body)]
    assert len(left) == len(NOT_RUN)
    for line, beginning in zip(left, NOT_RUN, strict=True):
        assert line.startswith(beginning)
    assert re.findall(r"`((?:kubectl|helm|aws|psql) [^`]+)`", BLOCK.sub("", GUIDE)) == []


def test_blocks_are_found_under_their_headings() -> None:
    found = sections("cluster")
    assert "" in found
    assert {"Upgrade", "Restore from backups"} <= found.keys()
    assert [body for under in found.values() for body in under] == blocks("cluster")


def test_every_roman_command_parses() -> None:
    """Those of cluster and account, too: a renamed option must not stay in the guide."""
    import typer

    from roman_assets.cli import app

    root = typer.main.get_command(app)
    checked = set()
    for call in commands("roman"):
        command, words, name = root, list(call), "roman"
        while hasattr(command, "commands"):
            name = words.pop(0)
            command = command.commands[name]
        words = ["5" if word.startswith("$") and "PORT" in word else word for word in words]
        existing = [w if not w.startswith(("survey", "redelivery", "bad")) else str(ROOT) for w in words]
        command.make_context(name, existing, resilient_parsing=False)
        checked.add(" ".join(call[:2]) if call[0] in ("quarantine", "calendar") else call[0])
    assert {
        "process",
        "backfill",
        "reconcile",
        "retention",
        "exporter",
        "ui",
        "ingest",
        "quarantine list",
        "quarantine release",
    } <= checked


def test_files_that_are_named_exist() -> None:
    named = re.findall(r"`((?:helm_values|deploy|roman_assets|tests)/[\w./-]*)`", GUIDE)
    assert len(named) > 5
    for path in named:
        assert (ROOT / path).exists(), path
    pairs = [pair for call in [*commands("helm"), *commands("kubectl")] for pair in itertools.pairwise(call)]
    files = [value for flag, value in pairs if flag in ("-f", "-k")]
    assert len(files) >= 4
    for value in files:
        assert (ROOT / value).exists(), value


def test_alerts_and_the_sections_that_they_name_exist() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "monitoring" / "rules.yaml").read_text())
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"`(Roman\w+)`", GUIDE)) <= alerts.keys()
    headings = set(re.findall(r"^## (.+)$", GUIDE, re.MULTILINE))
    told = {
        name: re.findall(r"docs/operations\.md: ([\w ]+)", r["annotations"]["description"])
        for name, r in alerts.items()
    }
    assert sum(map(len, told.values())) >= 2
    for name, headings_of_it in told.items():
        assert set(headings_of_it) <= headings, name
    from roman_assets.monitoring import alerts as sensors

    assert {"failure_alerts", "lag_alerts"} <= set(re.findall(r'name="(\w+)"', Path(sensors.__file__).read_text()))


def test_promises_of_the_guide_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([\d, ]+?)(?:, from[^|]+)? \|$", GUIDE, re.MULTILINE)
    told = {}
    for names, hours in rows:
        told |= dict(zip(re.findall(r"`(\w+)`", names), hours.split(", "), strict=True))
    assert len(told) >= 8
    assert told == {name: f"{PROMISES[name].hours:g}" for name in told}


@pytest.mark.slow
def test_commands_run_in_their_order(tmp_path: Path) -> None:
    """One shell, from an empty folder: the blocks that can run here, as they stand."""
    code, text = run("\n".join(blocks("run")), tmp_path, 1500, PORT=str(free_port()))
    assert code == 0, text[-4000:]
    backfill = (tmp_path / "backfill.txt").read_text()
    assert "partitions of season_light_curves" in backfill
    assert "completed success" in backfill
    assert "roman_partitions_materialized" in (tmp_path / "metrics.txt").read_text()
    assert "recalibrated" not in text or "overruled by operator" in text
    assert re.search(r"[1-9]\d* superseded products and \d+ orphans deleted", text)
    assert re.search(r"1 products are damaged", text), "the lost product was not noticed"
    assert text.rstrip().splitlines()[-1].startswith("roman_product_bytes_made_total")
