"""The same bits on every machine: what numpy and BLAS would otherwise choose by processor and number of cores.

Our kernels give the same bits at every vector level. OpenBLAS and numpy do not: they dispatch by the processor, and
BLAS sums in an order that depends on the number of threads. A step that is done again on another kind of node would
make other bytes under the same identity. So the image pins them (Dockerfile), and so does `roman` (entry.py), to what
every x86 processor with AVX2 has.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

#: Environment of every process that makes products; read when numpy and BLAS are loaded.
SETTINGS: Mapping[str, str] = {
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
_CPU = Path("/proc/cpuinfo")


def pin_arithmetic(environment: MutableMapping[str, str] | None = None) -> bool:
    """Pin the number of threads, and what else is not set; False where it comes too late (numpy is loaded) or the
    processor is another kind.

    Threads are pinned whatever the caller's shell says: with two of them, spectra have other bits.
    """
    if "numpy" in sys.modules or not has_avx2():
        return False
    env = os.environ if environment is None else environment
    for name, value in SETTINGS.items():
        if name.endswith("_NUM_THREADS"):
            env[name] = value
        env.setdefault(name, value)
    return True


def has_avx2() -> bool:
    """Whether code for AVX2 can run here: OpenBLAS obeys its setting even where it cannot."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        return " avx2 " in f"{_CPU.read_text()} ".replace("\n", " ")
    except OSError:
        return False
