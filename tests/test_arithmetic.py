"""What bits depend on beside our kernels: pinned in the image and in the program, before numpy is loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from roman_assets.platform.arithmetic import SETTINGS, has_avx2

ROOT = Path(__file__).resolve().parents[1]


def test_image_pins_what_bits_depend_on():
    """Nodes of different generations must not make different products."""
    text = (ROOT / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    for name, value in SETTINGS.items():
        assert re.search(rf'\b{name}="?{re.escape(value)}"? ', final), name


def test_pinned_arithmetic_is_obeyed():
    """In a process of its own: BLAS has one kind of core, numpy none of the wider vectors, and threads are
    pinned whatever the shell says: with two of them spectra have other bits."""
    code = (
        "import os, sys; from roman_assets.platform.arithmetic import pin_arithmetic; done = pin_arithmetic();"
        "import numpy as np; from numpy._core._multiarray_umath import __cpu_features__ as f;"
        "blas = np.__config__.CONFIG['Build Dependencies']['blas'].get('openblas configuration', '');"
        "print(done, os.environ['OMP_NUM_THREADS'], f.get('X86_V4', False), 'Haswell' in blas, pin_arithmetic())"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "OMP", "NPY"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**bare, "OMP_NUM_THREADS": "3"}, capture_output=True, text=True, check=True
    ).stdout.split()
    if done[0] == "False":
        pytest.skip("no x86 processor with AVX2")
    assert done == ["True", "1", "False", "True", "False"]


def test_the_program_pins_its_arithmetic_before_it_loads_numpy():
    """Its command modules load numpy when they are imported: then it would be too late."""
    code = (
        "import os, sys, tomllib; script = tomllib.load(open(sys.argv[1], 'rb'))['project']['scripts']['roman'];"
        "module, name = script.split(':'); sys.argv = ['roman', '--help'];"
        "program = getattr(__import__(module, fromlist=[name]), name)\n"
        "try: program()\nexcept SystemExit: pass\n"
        "print(os.environ.get('OPENBLAS_CORETYPE'), 'numpy' in sys.modules)"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "OMP", "NPY"))}
    done = (
        subprocess.run(
            [sys.executable, "-c", code, str(ROOT / "pyproject.toml")],
            env=bare,
            capture_output=True,
            text=True,
            check=True,
        )
        .stdout.splitlines()[-1]
        .split()
    )
    assert done == ["Haswell" if has_avx2() else "None", "True"]
