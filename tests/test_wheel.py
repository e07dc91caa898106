"""What an installation brings: one importable package and one command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIST = """
import json
import os
from setuptools import Distribution
made = Distribution()
made.parse_config_files()
print(json.dumps({"packages": made.packages, "modules": made.py_modules}))
"""


def test_only_our_package_is_at_the_top() -> None:
    """A top-level module with a common name, such as `definitions`, would shadow other people's."""
    done = subprocess.run([sys.executable, "-c", LIST], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = json.loads(done.stdout.splitlines()[-1])
    assert {"roman_assets", "roman_assets.orchestration", "roman_assets.systems.msos"} <= set(listed["packages"])
    assert {name.partition(".")[0] for name in listed["packages"]} == {"roman_assets"}
    assert not listed["modules"]


@pytest.mark.slow
def test_the_wheel_has_nothing_else(tmp_path: Path) -> None:
    """The wheel itself, whose top-level names include what a build hook might add."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "definitions.py"):
        shutil.copy(ROOT / name, source / name)
    for name in ("csrc", "roman_assets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.o", "bin"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", str(tmp_path), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "roman_assets/orchestration/code_location.py" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"roman_assets"}
    assert not [name for name in names if "/" not in name]


def test_a_checkout_is_a_project_of_dg(tmp_path: Path) -> None:
    """`dg` reads the root's definitions.py, which has the package's definitions and nothing else."""
    program = Path(sys.executable).with_name("dg")
    environment = os.environ | {"ROMAN_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [program, "check", "defs"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "All definitions loaded successfully" in done.stdout
    body = (ROOT / "definitions.py").read_text().split('"""')[2]
    assert body.strip() == "from roman_assets.orchestration.code_location import defs as defs"
