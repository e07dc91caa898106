"""What every kernel wrapper shares: pointers, vector level, statuses turned into exceptions."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError, RomanError
from roman_assets.kernels._kernels import ffi, lib

OK, ARGUMENT, MEMORY, CONVERGENCE, SINGULAR = range(5)
LEVELS = {"auto": 0, "baseline": 1, "v3": 2, "v4": 3}
_TYPES = {
    np.dtype(np.float32): "float *",
    np.dtype(np.float64): "double *",
    np.dtype(np.int32): "int32_t *",
    np.dtype(np.int64): "int64_t *",
    np.dtype(np.uint8): "uint8_t *",
}


class KernelError(RomanError):
    """A kernel could not do its work."""


def vector_level() -> int:
    """Vector level asked for by ``ROMAN_SIMD`` (auto, baseline, v3, v4); results do not depend on it."""
    name = os.environ.get("ROMAN_SIMD", "auto")
    if name not in LEVELS:
        raise InputError(f"unknown vector level {name!r}", field="ROMAN_SIMD", remedy=f"use one of {', '.join(LEVELS)}")
    return LEVELS[name]


def pointer(value: NDArray[Any]) -> Any:
    """C pointer to the data of a C-contiguous array, which lives as long as the pointer; valid even of an empty one."""
    return ffi.from_buffer(_TYPES[value.dtype], value if value.size else np.zeros(1, dtype=value.dtype))


def check(status: int, operation: str, *, tolerate: tuple[int, ...] = (), field: str | None = None) -> int:
    """Raise the exception of a kernel status, unless it is OK or tolerated; returns the status.

    `field` names the arguments whose agreement only the kernel can check.
    """
    if status == OK or status in tolerate:
        return status
    if status == ARGUMENT:
        raise InputError(f"{operation} refused its arguments", field=field, remedy="check sizes, positions and ranges")
    if status == MEMORY:
        raise MemoryError(f"{operation} could not allocate its work space")
    reason = {CONVERGENCE: "did not converge", SINGULAR: "is not constrained by the data"}
    raise KernelError(f"{operation} {reason.get(status, f'failed with status {status}')}")


__all__ = ["KernelError", "check", "ffi", "lib", "pointer", "vector_level"]
