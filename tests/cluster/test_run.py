"""tests/cluster/run and .ci/cluster: when the cluster test is run, how it ends, and what refuses a change."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return path


def run(folder: Path, python: str = "", **given: str) -> subprocess.CompletedProcess[str]:
    """tests/cluster/run, whose Python and kubectl only say what they are asked for, in a folder's log too."""
    log = folder / "log"
    script(folder / "venv" / "bin" / "python", f'echo "python $@ with $KUBECONFIG" | tee -a {log}\n{python}')
    script(folder / "venv" / "bin" / "kubectl", '[ "$KUBECONFIG" != /broken ]')
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KUBECONFIG", "ROMAN_"))}
    environment = kept | {"VENV": str(folder / "venv"), "CLUSTER_TOOLS": str(folder / "tools")} | given
    command = [ROOT / "tests" / "cluster" / "run"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


def cluster_tools(folder: Path, **fails: str) -> None:
    """The scripts of a cluster that is none: each notes that it was called; some fail."""
    for name in ("up", "down", "base-image", "build-image", "load-image"):
        text = f'echo "{name} $@" >> {folder / "log"}\n' + fails.get(name.replace("-", "_"), "")
        script(folder / "tools" / name, text + ("\necho export KUBECONFIG=/started" if name == "up" else ""))


def called(folder: Path) -> list[str]:
    return [line.partition(" ")[0] for line in (folder / "log").read_text().splitlines()]


def test_without_any_cluster_it_says_so(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("cluster test skipped: no KUBECONFIG")


@pytest.mark.parametrize("image", ["", "registry.example/roman-assets:1"])
def test_a_given_cluster_is_taken_and_left_alone(tmp_path: Path, image: str) -> None:
    """Nothing is started, built or stopped; who forgot to name the image is told."""
    cluster_tools(tmp_path)
    done = run(tmp_path, KUBECONFIG="/somewhere/config", ROMAN_TEST_IMAGE=image)
    assert done.returncode == 0, done.stderr
    assert called(tmp_path) == ["python"]
    assert "python -m pytest -q -m cluster tests/cluster" in done.stdout
    assert "with /somewhere/config" in done.stdout
    assert ("ROMAN_TEST_IMAGE is not set" in done.stderr) == (not image)


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="clusters of ../shared/cluster are started by root only")
STARTED = ["up", "base-image", *["build-image", "load-image"] * 2]


@needs_root
def test_a_cluster_is_started_and_stopped(tmp_path: Path) -> None:
    cluster_tools(tmp_path)
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert called(tmp_path) == [*STARTED, "python", "down"]
    assert "with /started" in done.stdout


@needs_root
@pytest.mark.parametrize("again", ["", "1"])
def test_what_failed_is_tried_once_more_where_that_is_asked_for(tmp_path: Path, again: str) -> None:
    """On a cluster that is mended first; failed twice is failed, and so is whatever else pytest may say."""
    cluster_tools(tmp_path)
    done = run(tmp_path, "exit 1", ROMAN_CLUSTER_AGAIN=again)
    assert done.returncode == 1
    assert called(tmp_path) == [*STARTED, "python", *([*STARTED, "python"] if again else []), "down"]
    (tmp_path / "log").unlink()
    once = f"[ $(grep -c ^python {tmp_path / 'log'}) = 2 ]"
    assert run(tmp_path, once, ROMAN_CLUSTER_AGAIN=again).returncode == (0 if again else 1)
    (tmp_path / "log").unlink()
    assert run(tmp_path, "exit 3", ROMAN_CLUSTER_AGAIN=again).returncode == 1, "pytest's 3 is not: no cluster"
    assert called(tmp_path) == [*STARTED, "python", "down"]


@needs_root
@pytest.mark.parametrize(
    ("tool", "code", "told"),
    [
        ("up", 3, "the cluster did not start"),
        ("base_image", 3, "base image"),
        ("build_image", 4, "image roman-assets:test could not be built"),
        ("load_image", 3, "could not be loaded"),
    ],
)
def test_what_went_wrong_before_any_test_has_a_code_of_its_own(tmp_path: Path, tool: str, code: int, told: str) -> None:
    cluster_tools(tmp_path, **{tool: "echo because of this >&2; exit 1"})
    done = run(tmp_path)
    assert done.returncode == code
    assert told in done.stderr
    assert "because of this" in done.stderr
    assert called(tmp_path)[-1] == "down"
    assert "python" not in called(tmp_path)


def test_a_given_cluster_that_does_not_answer(tmp_path: Path) -> None:
    done = run(tmp_path, KUBECONFIG="/broken")
    assert done.returncode == 3
    assert "/broken does not answer" in done.stderr


# --- the stage of .ci/run ------------------------------------------------------------------------------


def stage(folder: Path, test: str, seconds: int = 30) -> tuple[int, str]:
    """Exit code and summary of .ci/cluster when the cluster test does what `test` says."""
    summary = folder / "summary"
    program = script(folder / "cluster-test", test)
    environment = os.environ | {"CLUSTER_TEST": str(program)}
    command = [ROOT / ".ci" / "cluster", str(seconds), str(summary)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    return done.returncode, summary.read_text()


FAILED = 'echo "failed tests/a.py::test_two" >> $ROMAN_CLUSTER_OUTCOMES'
PASSED = 'echo "passed tests/a.py::test_two" >> $ROMAN_CLUSTER_OUTCOMES'
FIRST = 'echo "passed tests/a.py::test_one" >> $ROMAN_CLUSTER_OUTCOMES'


@pytest.mark.parametrize(
    ("test", "code", "told"),
    [
        ("echo 12 passed", 0, "12 passed"),
        ("echo cluster test skipped: no KUBECONFIG", 0, "cluster test skipped: no KUBECONFIG"),
        ("exit 3", 0, "CLUSTER TEST skipped: no cluster"),
        (f"[ $ROMAN_CLUSTER_AGAIN = 1 ]; {FAILED}; {PASSED}; echo 2 passed", 0, "2 passed"),
        (f"{FAILED}; {FIRST}; {FAILED}; exit 1", 1, "CLUSTER TEST FAILED (exit 1): tests/a.py::test_two"),
        ("exit 4", 1, "an image could not be built"),
        ("kill -9 $$", 1, "CLUSTER TEST FAILED (exit 137)"),
    ],
)
def test_what_refuses_a_change(tmp_path: Path, test: str, code: int, told: str) -> None:
    ended, summary = stage(tmp_path, test)
    assert told in summary
    assert ended == code


@pytest.mark.parametrize(
    ("test", "code", "told"),
    [
        ("", 0, "0 of its tests had passed, none failed"),
        (FIRST, 0, "1 of its tests had passed, none failed"),
        (f"{FIRST}; {FAILED}; {FIRST}", 1, "CLUSTER TEST FAILED, and was stopped after 1 s: tests/a.py::test_two"),
        (f"{FIRST}; {FAILED}; {FIRST}; {PASSED}", 0, "2 of its tests had passed, none failed"),
    ],
)
def test_time_is_up(tmp_path: Path, test: str, code: int, told: str) -> None:
    """It refuses only what a test has refused; the cluster is stopped by the script that started it."""
    ended, summary = stage(tmp_path, f"trap 'echo stopped' EXIT\n{test}\nsleep 20", seconds=1)
    assert told in summary
    assert ended == code
    assert "stopped\n" in summary
