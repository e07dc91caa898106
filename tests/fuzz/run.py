"""Fuzzes kernels (libFuzzer, clang) and readers (atheris): a table, benchmarks/fuzz.json, and a status.

    tests/fuzz/run.py [--seconds N] [TARGET ...]

Builds in build/fuzz, where the corpora stay; inputs that made something fail are in build/fuzz/findings. Status 1:
something was found. 2: with FUZZ_STRICT=1 a target was not run, for want of clang or atheris. Else 0.
FUZZ_SEED=N tries the same inputs again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.fuzz import seeds  # noqa: E402
from tests.fuzz.readers import TARGETS  # noqa: E402

BUILD = ROOT / "build" / "fuzz"
FINDINGS = BUILD / "findings"
FUZZ_VENV = ROOT / ".venv-fuzz"
KERNELS = tuple(sorted(path.stem for path in (ROOT / "tests" / "fuzz" / "c").glob("*.c")))
# -O1 with checks; no contraction, as in the package: the harnesses compare the bits of vector levels.
CFLAGS = ["-std=c11", "-g", "-O1", "-fno-sanitize-recover=all", "-ffp-contract=off", "-Icsrc", "-Itests/fuzz/c"]
CHECKED, LINKED = "-fsanitize=fuzzer-no-link,address,undefined", "-fsanitize=fuzzer,address,undefined"
#: Longest input, and what one may take before it counts as a hang [s] and as too much [MB].
LONGEST, SLOWEST, LARGEST = 8192, 20, 3000


@dataclass
class Outcome:
    """What became of one target."""

    target: str
    executions: int = 0
    seconds: float = 0.0
    crashes: int = 0
    exceptions: int = 0
    status: str = "run"
    found: tuple[str, ...] = ()


def main() -> int:
    """Run the targets asked for; the status of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="of " + ", ".join((*KERNELS, *TARGETS)))
    parser.add_argument(
        "--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS") or 600), help="for each target"
    )
    asked = parser.parse_args()
    unknown = set(asked.targets) - {*KERNELS, *TARGETS}
    if unknown or asked.seconds < 1:
        parser.error(f"no such target: {', '.join(sorted(unknown))}" if unknown else "give a second at least")
    wanted = asked.targets or [*KERNELS, *TARGETS]
    shutil.rmtree(FINDINGS, ignore_errors=True)
    FINDINGS.mkdir(parents=True)
    outcomes = [*_kernels([t for t in wanted if t in KERNELS], asked.seconds)]
    outcomes += _readers([t for t in wanted if t in TARGETS], asked.seconds)
    _report(outcomes, asked.seconds, whole=not asked.targets)
    if any(o.crashes or o.exceptions for o in outcomes):
        return 1
    strict = os.environ.get("FUZZ_STRICT") == "1"
    return 2 if strict and any(o.status != "run" for o in outcomes) else 0


# --- kernels ------------------------------------------------------------------------------------


def _kernels(targets: list[str], seconds: int) -> Iterable[Outcome]:
    compiler = os.environ.get("FUZZ_CC") or shutil.which("clang")
    if targets and (compiler is None or not _has_fuzzer(compiler)):
        why = "not run: no clang with libFuzzer (Debian: clang libclang-rt-14-dev)"
        yield from (Outcome(t, status=why) for t in targets)
        return
    objects = _objects(str(compiler)) if targets else []
    for target in targets:
        print(f"==> {target}", flush=True)
        program = BUILD / "bin" / target
        program.parent.mkdir(parents=True, exist_ok=True)
        command = [str(compiler), *CFLAGS, LINKED, f"tests/fuzz/c/{target}.c", *objects, "-lm", "-pthread"]
        subprocess.run([*command, "-o", str(program)], cwd=ROOT, check=True)
        yield _fuzz(target, [str(program)], seconds)


def _objects(compiler: str) -> list[str]:
    """The kernels, compiled once for all harnesses."""
    folder = BUILD / "objects"
    folder.mkdir(parents=True, exist_ok=True)

    def build(source: Path) -> str:
        made = folder / f"{source.stem}.o"
        subprocess.run([compiler, *CFLAGS, CHECKED, "-c", str(source), "-o", str(made)], cwd=ROOT, check=True)
        return str(made)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(build, sorted((ROOT / "csrc").glob("*.c"))))


def _has_fuzzer(compiler: str) -> bool:
    BUILD.mkdir(parents=True, exist_ok=True)
    probe = BUILD / "probe.c"
    probe.write_text("int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n ? 0 : 0; }\n")
    command = [compiler, "-fsanitize=fuzzer,address,undefined", str(probe), "-o", str(BUILD / "probe")]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


# --- readers ------------------------------------------------------------------------------------


def _readers(targets: list[str], seconds: int) -> list[Outcome]:
    python = _atheris() if targets else None
    outcomes = []
    for target in targets:
        if python is None:
            outcomes.append(Outcome(target, status="not run: atheris cannot be installed here"))
            continue
        print(f"==> {target}", flush=True)
        outcomes.append(_fuzz(target, [python, str(ROOT / "tests/fuzz/readers.py"), target, str(FINDINGS)], seconds))
    return outcomes


def _atheris() -> str | None:
    """A Python that has atheris and sees the packages of this one; None where there can be none."""
    python = FUZZ_VENV / "bin" / "python"
    if not python.exists():
        venv.create(FUZZ_VENV, with_pip=True)
        packages = sysconfig.get_path("purelib", vars={"base": str(FUZZ_VENV), "platbase": str(FUZZ_VENV)})
        (Path(packages) / "parent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    probe = [str(python), "-c", "import atheris"]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return str(python)
    install = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "atheris>=2.3"]
    installed = subprocess.run(install, capture_output=True, check=False).returncode == 0
    return (
        str(python) if installed and subprocess.run(probe, capture_output=True, check=False).returncode == 0 else None
    )


# --- both ---------------------------------------------------------------------------------------


def _fuzz(target: str, command: list[str], seconds: int) -> Outcome:
    corpus = BUILD / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds.of(target)):
        (corpus / f"seed{number}").write_bytes(data)
    # Inputs much longer than the seeds only take time.
    longest = max(LONGEST, 2 * max(path.stat().st_size for path in corpus.iterdir()))
    options = [f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={LARGEST}", f"-max_len={longest}"]
    # A sample of CI tries the same inputs in each run, so that a change is not refused by chance; a campaign tries others.
    options += [f"-seed={seed}"] if (seed := os.environ.get("FUZZ_SEED")) else []
    options += ["-print_final_stats=1", f"-artifact_prefix={FINDINGS}/{target}-", str(corpus)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    begun = time.monotonic()
    log = BUILD / f"{target}.log"
    with log.open("wb") as stream:
        status = subprocess.run(
            [*command, *options], cwd=ROOT, env=environment, stdout=stream, stderr=stream, check=False
        )
    told = log.read_text(errors="replace")
    counted = re.findall(r"stat::number_of_executed_units:\s*(\d+)", told) or re.findall(
        r"^#(\d+)\s", told, re.MULTILINE
    )
    outcome = Outcome(target, int(counted[-1]) if counted else 0, round(time.monotonic() - begun, 1))
    reports = sorted(FINDINGS.glob(f"{target}-*.json"))
    outcome.exceptions = len(reports)
    outcome.crashes = int(status.returncode != 0)
    outcome.found = tuple(json.loads(report.read_text())["error"] for report in reports)
    if status.returncode:
        signs = re.findall(r"runtime error.*|ERROR: .*|broken promise.*|Error: .*", told)
        outcome.found += (f"{(signs or ['status ' + str(status.returncode)])[0][:160]} (see {log.relative_to(ROOT)})",)
    return outcome


def _report(outcomes: list[Outcome], seconds: int, *, whole: bool) -> None:
    print(f"{'target':22} {'executions':>12} {'seconds':>8} {'crashes':>8} {'exceptions':>10}")
    for o in outcomes:
        numbers = f"{o.executions:12d} {o.seconds:8.1f} {o.crashes:8d} {o.exceptions:10d}"
        print(f"{o.target:22} {numbers if o.status == 'run' else '  ' + o.status}")
        for what in o.found:
            print(f"    {what}")
    found = sorted(p.name for p in FINDINGS.iterdir() if p.suffix != ".json")
    if found:
        print(f"inputs in {FINDINGS.relative_to(ROOT)}: {', '.join(found)}")
    if whole:  # a part says nothing of the rest
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        result = {
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit,
            "seconds_each": seconds,
            "targets": [asdict(o) for o in outcomes],
        }
        (ROOT / "benchmarks" / "fuzz.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
