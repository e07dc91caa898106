"""Checks of what goes into a kernel: every wrapper's arguments pass through here before C sees them.

A function takes the argument's name first, and raises `InputError` with that name as its field. What comes back can be
handed to C as it is.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError

#: Most elements of one array: C counts some of them in 32 bits.
MOST_ELEMENTS = 2**31 - 1
#: Most pixels along a side of an image, and farthest place in one [px].
MOST_PIXELS = 2**20


def array(name: str, value: ArrayLike, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """`value` as an aligned C-contiguous array of `dtype` whose shape agrees with `shape` (None: any length).

    Raises
    ------
    InputError
        No array of numbers, numbers that `dtype` cannot hold, a masked element, or another shape.
    """
    wanted = np.dtype(dtype)
    if type(value) is np.ndarray and value.dtype == wanted and value.flags.carray and value.ndim == len(shape):
        given = value  # the usual case, in hot loops
    else:
        given = numbers(name, value)
    if given.dtype != wanted and wanted.kind == "i" and given.size:
        _whole(name, given, wanted)
    with np.errstate(over="ignore"):  # a float32 overflows to infinity, which those that need finite values refuse
        result = np.require(given, dtype=wanted, requirements=["C", "A"])
    if result.ndim == 0:
        result = result.reshape(1)
    if result.ndim != len(shape) or any(w is not None and w != g for w, g in zip(shape, result.shape, strict=True)):
        raise InputError(f"shape {result.shape} where {shape} is needed", field=name, remedy="pass matching arrays")
    if result.size > MOST_ELEMENTS:
        raise InputError(f"{result.size} elements", field=name, remedy=f"pass at most {MOST_ELEMENTS} at a time")
    return result


def numbers(name: str, value: ArrayLike) -> NDArray[Any]:
    """`value` as an array of real numbers of any type and shape, in native byte order."""
    try:
        given = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"not an array: {error}", field=name, remedy="pass an array of numbers") from error
    if given.dtype == object and given.size:
        given = _from_objects(name, given)
    if given.dtype.kind not in "buif" and given.size:
        raise InputError(f"an array of {given.dtype}", field=name, remedy="pass an array of numbers")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError("an element is masked", field=name, remedy="fill masked elements first")
    if given.dtype.kind not in "buif":  # of nothing at all
        given = np.zeros(given.shape)
    return given if given.dtype.isnative else given.astype(given.dtype.newbyteorder("="))


def _from_objects(name: str, given: NDArray[Any]) -> NDArray[Any]:
    """Numbers out of an array of objects; what is no number (None, text) is refused."""
    if not all(isinstance(v, (int, float, np.integer, np.floating)) for v in given.flat):
        raise InputError("an array of objects", field=name, remedy="pass an array of numbers")
    try:
        return given.astype(np.float64)
    except OverflowError as error:
        raise InputError(f"{error}", field=name, remedy="pass an array of numbers") from error


def _whole(name: str, given: NDArray[Any], wanted: np.dtype[Any]) -> None:
    limits = np.iinfo(wanted)
    whole = given.dtype.kind in "bui" or bool((np.isfinite(given) & (given == np.rint(given))).all())
    # Compared as Python numbers: numpy would round the limits to the type of the array.
    if not whole or int(given.min()) < limits.min or int(given.max()) > limits.max:
        raise InputError(
            "a value is not whole or too large", field=name, remedy=f"pass integers from {limits.min} to {limits.max}"
        )


def finite(**arrays: NDArray[Any]) -> None:
    """Refuses arrays with a value that is NaN or infinite."""
    for name, values in arrays.items():
        # What is not finite shows in the extremes, which cost less than a pass of isfinite.
        if values.size and not (math.isfinite(values.min()) and math.isfinite(values.max())):
            raise InputError("a value is not finite", field=name, remedy="mask pixels by weight 0 and a finite value")


def weights(**arrays: NDArray[Any]) -> None:
    """Refuses arrays with a value that is negative, NaN or infinite."""
    finite(**arrays)
    for name, values in arrays.items():
        if values.size and values.min() < 0:
            raise InputError("a weight is negative", field=name, remedy="weights are inverse variances")


def increasing(name: str, values: NDArray[Any], *, strictly: bool = False) -> None:
    """Refuses a series (n,) that falls, or (strictly) stays."""
    steps = np.diff(values)
    if (steps <= 0).any() if strictly else (steps < 0).any():
        raise InputError("values are not increasing", field=name, remedy="sort them first")


def count(name: str, value: Any, least: int, most: int) -> int:
    """A whole number from `least` to `most`."""
    try:
        whole = operator.index(value)
    except TypeError:
        whole = least - 1
    if not least <= whole <= most:
        raise InputError(f"{name} {value!r}", field=name, remedy=f"give a whole number from {least} to {most}")
    return whole


def number(name: str, value: Any, least: float = -math.inf, most: float = math.inf, *, above: bool = False) -> float:
    """A finite number from `least` (with `above`: beyond it) to `most`."""
    try:
        given = float(value)
    except (TypeError, ValueError, OverflowError):
        given = math.nan
    if not (math.isfinite(given) and least <= given <= most) or (above and given == least):
        bounds = f"{'above' if above else 'from'} {least:g} to {most:g}"
        raise InputError(f"{name} {value!r}", field=name, remedy=f"give a finite number {bounds}")
    return given


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """Two things, in a tuple or anything like it."""
    try:
        first, second = value
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} {value!r}", field=name, remedy="give two numbers") from error
    return first, second


def offsets(name: str, value: ArrayLike, n: int, total: int) -> NDArray[np.int64]:
    """(n + 1,) where each of n pieces of `total` elements begins and ends: from 0 to `total`, not falling."""
    result = array(name, value, np.int64, (n + 1,))
    if result[0] != 0 or result[-1] != total or (np.diff(result) < 0).any():
        raise InputError("the starts do not agree with the points", field=name, remedy="pass CSR offsets")
    return result


def elements(name: str, *factors: int) -> int:
    """The product of `factors`, if an array can have as many elements."""
    product = math.prod(factors)
    if product > MOST_ELEMENTS:
        raise InputError(f"{product} elements", field=name, remedy=f"at most {MOST_ELEMENTS} are possible")
    return product


def writable(name: str, value: Any, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """`value` itself, if C can write its results into it: a converted copy would not do."""
    wanted = np.dtype(dtype)
    sound = (
        isinstance(value, np.ndarray)
        and not isinstance(value, np.ma.MaskedArray)
        and value.dtype == wanted
        and value.ndim == len(shape)
    )
    if (
        not sound
        or any(w is not None and w != g for w, g in zip(shape, value.shape, strict=True))
        or not (value.flags.c_contiguous and value.flags.writeable and value.flags.aligned)
    ):
        what = f"{value.dtype} array of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(
            f"{what} that cannot be written to",
            field=name,
            remedy=f"pass a contiguous writable {wanted.name} array of shape {shape}",
        )
    return value


__all__ = [
    "MOST_ELEMENTS",
    "MOST_PIXELS",
    "array",
    "count",
    "elements",
    "finite",
    "increasing",
    "number",
    "numbers",
    "offsets",
    "pair",
    "weights",
    "writable",
]
