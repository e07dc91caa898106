"""Known vulnerabilities of what a bill of materials lists: Python by pip-audit, the rest by a scanner of one's own.

    python deploy/release/audit.py dist/sbom.cdx.json

IMAGE_SCANNER is the hook for the scanner of a CI: a command that takes the bill of materials as its last argument and
fails if it finds something, such as `trivy sbom --exit-code 1` or `grype --fail-on high`. Where the vulnerability
service cannot be reached, or has no data (a mirror of the package index, for instance), nothing is known: that is said,
and fails only with AUDIT_STRICT=1. So does a part of the distributions that the service does not know.
Exit codes: 0 nothing found, or not checked; 1 vulnerabilities found; 2 not checked although AUDIT_STRICT=1.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TIMEOUT_S = 120
#: Has had a known vulnerability since 2018 (CVE-2018-18074): a service that finds none in it has no data.
VULNERABLE = "requests==2.19.1"
#: What pip-audit prints when its service did not answer, as far as it can be told from a finding.
UNREACHABLE = (
    "ConnectionError",
    "Max retries",
    "ConnectTimeout",
    "ReadTimeout",
    "Name or service",
    "HTTPError",
    "could not connect",
    "Tunnel connection",
    "503",
    "502",
    "404",
    "403",
)

Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


def requirements(sbom: Mapping[str, Any]) -> list[str]:
    """`name==version` of every Python distribution of a bill of materials but our own."""
    found = [c for c in sbom["components"] if str(c.get("purl", "")).startswith("pkg:pypi/")]
    return sorted(f"{c['name']}=={c['version']}" for c in found if c["name"] not in ("roman-assets", "roman_assets"))


def audit_python(wanted: list[str], run: Run) -> tuple[str, list[str]]:
    """`clean`, `vulnerable`, `not checked` or `partly checked`, and lines that say why."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(wanted) + "\n")
        file.flush()
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "-r",
            file.name,
            "--no-deps",
            "--disable-pip",
            "--format",
            "json",
            "--progress-spinner",
            "off",
            "--timeout",
            "20",
        ]
        try:
            done = run(command)
        except subprocess.TimeoutExpired:
            return "not checked", [f"pip-audit did not end in {TIMEOUT_S} s"]
    try:
        answer = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        if any(word in done.stderr for word in UNREACHABLE):
            return "not checked", [f"the vulnerability service cannot be reached: {last[:300]}"]
        return "not checked", [f"pip-audit failed: {last[:300]}"]
    lines = [
        f"{item['name']} {item['version']}: {problem['id']} (fixed in {', '.join(problem['fix_versions']) or 'no version'})"
        for item in answer
        for problem in item.get("vulns", [])
    ]
    skipped = [f"not checked: {item['name']} ({item['skip_reason']})" for item in answer if "skip_reason" in item]
    if lines:
        return "vulnerable", lines + skipped
    if skipped:
        return ("not checked" if len(skipped) == len(answer) else "partly checked"), skipped
    return "clean", []


def audit(wanted: list[str], run: Run) -> tuple[str, list[str]]:
    """As `audit_python`, after one question whose answer is known: it tells whether the service has data at all."""
    outcome, lines = audit_python([VULNERABLE], run)
    if outcome == "clean":
        return "not checked", [f"the vulnerability service has no data: it knows of none in {VULNERABLE}"]
    return (outcome, lines) if outcome == "not checked" else audit_python(wanted, run)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def main(sbom_path: Path, *, run: Run = _run, environment: Mapping[str, str] = os.environ) -> int:
    """Audits a bill of materials and says what came of it; returns the exit code."""
    sbom = json.loads(sbom_path.read_text())
    wanted = requirements(sbom)
    outcome, lines = audit(wanted, run)
    print(f"{len(wanted)} Python distributions: {outcome}")
    for line in lines:
        print(f"  {line}")
    outcomes = {outcome}
    scanner = environment.get("IMAGE_SCANNER")
    if scanner:
        failed = subprocess.run([*shlex.split(scanner), str(sbom_path)], check=False).returncode
        outcomes.add("vulnerable" if failed else "clean")
        print(f"{scanner}: {'found something' if failed else 'clean'}")
    else:
        print("Debian packages: not checked (IMAGE_SCANNER is not set)")
    if "vulnerable" in outcomes:
        return 1
    return 2 if outcomes & {"not checked", "partly checked"} and environment.get("AUDIT_STRICT") else 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        raise SystemExit("usage: audit.py SBOM (make it with `make sbom`)")
    raise SystemExit(main(Path(sys.argv[1])))
