"""tests/cluster/run, .ci/cluster and .ci/run: when the cluster test is run, how it ends, and what refuses a change."""

from __future__ import annotations

import os
import re
import shutil
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
    ("test", "told"),
    [
        ("", "0 of its tests had passed, failed: none"),
        (FIRST, "1 of its tests had passed, failed: none"),
        (f"{FIRST}; {FAILED}; {FIRST}", "1 of its tests had passed, failed: tests/a.py::test_two"),
        (f"{FIRST}; {FAILED}; {FIRST}; {PASSED}", "2 of its tests had passed, failed: none"),
    ],
)
def test_time_is_up(tmp_path: Path, test: str, told: str) -> None:
    """What had no turn has not passed: the change is refused. The cluster is stopped by the script that started it."""
    ended, summary = stage(tmp_path, f"trap 'echo stopped' EXIT\n{test}\nsleep 20", seconds=1)
    assert f"CLUSTER TEST FAILED: did not fit into 1 s and was stopped; {told}" in summary
    assert ended == 1
    assert "stopped\n" in summary


# --- .ci/run ---------------------------------------------------------------------------------------------

#: A `make` that notes what it was asked for; `make install` brings a Python that does the same. MAKE_<target>, or
#: PYTHON, is what it does.
MAKE = """
[ "$1" != -n ] || {{ case " {targets} " in *" $3 "*) exit 0 ;; *) exit 2 ;; esac; }}
target=$2
echo "$target ${{@:3}} CI=$CI ROMAN_CAMPAIGN=${{ROMAN_CAMPAIGN-}}" >> {log}
if [ "$target" = install ]; then
    mkdir -p "$VENV/bin"
    printf '#!/usr/bin/env bash\necho "slow $*" >> {log}\neval "${{PYTHON_DOES:-echo 5 passed}}"\n' > "$VENV/bin/python"
    chmod +x "$VENV/bin/python"
fi
name=MAKE_${{target//-/_}}; eval "${{!name:-:}}"
"""
ALL = ("install", "test", "slow", "demo", "test-faults", "fuzz", "audit", "cluster")


def change(folder: Path, targets: str = "test-faults fuzz", **given: str) -> tuple[int, str, list[str]]:
    """Exit code, output and stages of .ci/run in a project whose programs only say that they were called."""
    log = folder / "log"
    log.touch()
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    script(
        folder / ".ci" / "cluster", f'echo "cluster $1" >> {log}\necho "7 passed" >> "$2"\neval "${{CLUSTER_DOES:-:}}"'
    )
    script(folder / "bin" / "make", MAKE.format(log=log, targets=targets))
    for name in ("chromium", "promtool", "jq", "amtool", "apt-get"):
        script(folder / "bin" / name, "exit 0")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CI", "ROMAN_"))}
    environment |= {"PATH": f"{folder / 'bin'}:{environment['PATH']}", "MAKE_test": "echo 3 passed"} | given
    command = ["bash", folder / ".ci" / "run"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    return done.returncode, done.stdout, log.read_text().splitlines()


def names(stages: list[str]) -> tuple[str, ...]:
    return tuple(line.partition(" ")[0] for line in stages)


def test_a_good_change_passes_every_stage(tmp_path: Path) -> None:
    code, told, stages = change(tmp_path, ROMAN_CAMPAIGN="1")
    assert code == 0, told
    assert names(stages) == ALL
    assert told.rstrip().splitlines()[-3:] == ["3 passed", "5 passed", "7 passed"]
    asked = dict(zip(names(stages), stages, strict=True))
    assert "-m slow" in asked["slow"]
    assert "FAULTS=sample CI=true ROMAN_CAMPAIGN=" in asked["test-faults"], "the sample, not the campaign"
    assert not asked["test-faults"].endswith("ROMAN_CAMPAIGN=1")
    assert "FUZZ_SECONDS=10" in asked["fuzz"]


def test_stages_of_targets_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    code, _, stages = change(tmp_path, targets="fuzz")
    assert code == 0
    assert names(stages) == tuple(name for name in ALL if name != "test-faults")


@pytest.mark.parametrize(
    ("stage", "does"),
    [
        ("install", "MAKE_install"),
        ("test", "MAKE_test"),
        ("slow", "PYTHON_DOES"),
        ("demo", "MAKE_demo"),
        ("faults", "MAKE_test_faults"),
        ("fuzz", "MAKE_fuzz"),
        ("audit", "MAKE_audit"),
    ],
)
def test_a_stage_that_fails_or_does_not_fit_refuses_the_change(tmp_path: Path, stage: str, does: str) -> None:
    """Being cut short is not passing, even if all that had its turn has passed; nothing after it is run."""
    for folder in ("failed", "late"):
        (tmp_path / folder).mkdir()
    code, told, stages = change(tmp_path / "failed", **{does: "echo 1 failed; exit 2"})
    assert code == 1
    assert told.rstrip().endswith(f"REFUSED: {stage} failed (exit 2)")
    assert "1 failed" in told.partition("closing lines")[2]
    last = {"faults": "test-faults"}.get(stage, stage)
    assert names(stages) == ALL[: ALL.index(last) + 1]
    late = {does: "echo 9 passed; sleep 60", f"CI_LIMIT_{stage}": "1"}
    code, told, stages = change(tmp_path / "late", **late)
    assert code == 1
    assert told.rstrip().endswith(f"REFUSED: {stage} did not fit into 1 s and was stopped")
    assert names(stages) == ALL[: ALL.index(last) + 1]


def test_no_collected_tests_refuse_the_change(tmp_path: Path) -> None:
    """pytest's 5: a tier that has become empty has tested nothing."""
    code, told, _ = change(tmp_path, PYTHON_DOES="echo no tests ran in 1s; exit 5")
    assert (code, "REFUSED: slow failed (exit 5)" in told) == (1, True)


def test_the_everyday_part_has_a_limit_of_its_own(tmp_path: Path) -> None:
    """Stages that all keep their own limits may still take too long together."""
    code, told, stages = change(tmp_path, MAKE_install="sleep 2", MAKE_test="sleep 60", CI_LIMIT_everyday="4")
    assert code == 1
    assert re.search(r"REFUSED: test did not fit into [12] s and was stopped", told)
    assert names(stages) == ("install", "test")


def test_the_cluster_test_has_what_is_left_of_the_whole(tmp_path: Path) -> None:
    (tmp_path / "failed").mkdir()
    code, told, stages = change(tmp_path, CI_LIMIT_all="1000")
    assert code == 0, told
    assert 600 <= int(stages[-1].split()[1]) <= 940
    code, told, _ = change(tmp_path / "failed", CLUSTER_DOES="exit 1")
    assert code == 1
    assert "REFUSED: the cluster test failed or did not fit" in told


def test_the_limits_of_ci_run_are_those_that_are_promised() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert "part_limit=2400" in text
    assert "limit all 4800" in text
    assert "stage slow 1200" in text
