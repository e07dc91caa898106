"""Compiles csrc/ into the extension roman_assets.kernels._kernels (cffi, out-of-line API mode).

The Python declarations are cut out of the C headers, between the lines ``cffi: begin`` and
``cffi: end``, so that bindings and kernels cannot drift apart.
"""

from __future__ import annotations

import platform
import re
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parents[2]
#: Order matters: a header may use the types of those before it.
OPERATIONS = (
    "psf_stamp",
    "star_sums",
    "joint_fit",
    "exposure_fit",
    "grid_sums",
    "event_search",
    "point_lens",
    "finite_source",
    "nnls",
    "redshift",
    "optical_model",
    "dispersion",
    "polygon_clip",
)
#: What those are made of.
SUPPORT = ("dispatch", "parallel", "straight_trace", "exposure_work", "exposure_errors")

# No -ffast-math and no contraction: every vector level must give the same bits (fma is explicit).
COMPILE_FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-pthread"]
COMPILE_FLAGS += ["-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]


def declarations() -> str:
    """C declarations of all operations, as their headers state them."""
    parts: list[str] = []
    for name in OPERATIONS:
        text = (ROOT / "csrc" / f"{name}.h").read_text()
        found = re.findall(r"/\* cffi: begin \*/(.*?)/\* cffi: end \*/", text, flags=re.DOTALL)
        parts.extend(re.sub(r"/\*.*?\*/", "", part, flags=re.DOTALL) for part in found)
    parts.append("int roman_effective_level(int wanted);")
    return "\n".join(parts)


ffibuilder = FFI()
ffibuilder.cdef(declarations())
ffibuilder.set_source(
    "roman_assets.kernels._kernels",
    "\n".join(f'#include "{name}.h"' for name in (*OPERATIONS, "dispatch")),
    sources=[f"csrc/{name}.c" for name in (*SUPPORT, *OPERATIONS)],
    depends=sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob("*.h")),
    include_dirs=["csrc"],
    extra_compile_args=COMPILE_FLAGS,
    extra_link_args=["-pthread"],
    libraries=[] if platform.system() == "Windows" else ["m"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
