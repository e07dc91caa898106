"""The fuzzing script: its targets exist, their seeds are accepted or refused on purpose, and it says what it did."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from roman_assets.errors import InputError
from tests.fuzz import run, seeds
from tests.fuzz.readers import TARGETS, Findings


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_seeds_are_read(tmp_path: Path, target: str) -> None:
    """At least one seed gets through: a fuzzer that begins with refused files learns little."""
    read = 0
    for data in seeds.of(target):
        try:
            TARGETS[target](tmp_path / "r0000201001001001001_0001_wfi01_f146_cal.asdf", data)
        except InputError:
            continue
        read += 1
    assert read


def test_every_kernel_has_a_target() -> None:
    """A new kernel without a harness fails here; star_sums serves psf_stamp, whose functions it calls."""
    from roman_assets.kernels._build import OPERATIONS

    assert set(run.KERNELS) == set(OPERATIONS) - {"psf_stamp"}


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in seeds.CORPUS.iterdir()) < 200_000


def test_findings_are_kept_once_for_every_place(tmp_path: Path) -> None:
    findings = Findings(tmp_path, "target")
    for number in range(3):
        try:
            raise ZeroDivisionError(str(number))
        except ZeroDivisionError as error:
            findings.note(error, b"input")
    (report,) = tmp_path.glob("*.json")
    assert "ZeroDivisionError at test_run.py" in json.loads(report.read_text())["error"]
    assert report.with_suffix(".bin").read_bytes() == b"input"


@pytest.mark.parametrize(("strict", "status"), [("0", 0), ("1", 2)])
def test_what_cannot_be_run_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], strict: str, status: int, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "BUILD", tmp_path)
    monkeypatch.setattr(run, "FINDINGS", tmp_path / "findings")
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "_atheris", lambda: None)
    monkeypatch.setenv("FUZZ_CC", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("FUZZ_STRICT", strict)
    monkeypatch.setattr(sys, "argv", ["run.py", "nnls", "spectra_fits"])
    assert run.main() == status
    assert capsys.readouterr().out.count("not run") == 2


def test_unknown_targets_invalid() -> None:
    command = [sys.executable, str(run.ROOT / "tests/fuzz/run.py"), "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=run.ROOT)
    assert done.returncode == 2
    assert "no such target: nonsense" in done.stderr
