"""Sky footprint of an exposure from the WCS in its YAML header, without gwcs.

A Level 2 WCS is a chain of a few named transforms, each with an exact closed form.  Evaluating that chain for
five points costs a millisecond; building the same WCS through asdf and gwcs costs seconds of import and tens
of milliseconds a file.  A chain with any other transform is not guessed at: ``chain`` raises Unsupported, and
the full validation evaluates the file's gwcs instead.

Formulae: ASDF transform schemas; Calabretta & Greisen (2002), eqs. 2, 54 and 55.  Output frames FK5 (J2000)
and ICRS are taken as one: they differ by less than 0.03 arcsec.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from roman_assets.exposures.level2.asdf_tree import Node, SequenceNode, child, plain
from roman_assets.exposures.rejection import Reason, Rejected

Values = list[float]
PIXEL_SCALE_ARCSEC = (0.05, 0.2)  # the WFI's is 0.11 everywhere on its field


class Unsupported(Exception):
    """The header's WCS holds something that only gwcs can evaluate."""


def chain(wcs: Node | None) -> Callable[[float, float], tuple[float, float]]:
    """Function (x, y) -> (ra, dec) [pixel, 0-based -> deg] of a ``meta.wcs`` node.  Raises Unsupported."""
    steps = child(wcs, "steps")
    if not isinstance(steps, SequenceNode) or len(steps.value) < 2:
        raise Unsupported("the WCS has no steps")
    frame = child(steps.value[-1], "frame")
    if frame is None or _kind(frame) != "celestial_frame":
        raise Unsupported("the last frame is not celestial")
    transforms = [_transform(child(step, "transform")) for step in steps.value[:-1]]

    def sky(x: float, y: float) -> tuple[float, float]:
        values = [x, y]
        for apply in transforms:
            values = apply(values)
        ra, dec = values
        return ra % 360.0, dec

    return sky


def polygon(sky: Callable[[float, float], tuple[float, float]], shape: tuple[int, int], file: object) -> str:
    """``POLYGON ICRS ra dec ...`` [deg] of the outer corners of the image of ``shape`` (ny, nx).

    Raises Rejected (wcs_degenerate) if a corner is not on the sky or the pixel scale is not the instrument's.
    """
    ny, nx = shape
    corners = [sky(x, y) for x, y in ((-0.5, -0.5), (nx - 0.5, -0.5), (nx - 0.5, ny - 0.5), (-0.5, ny - 0.5))]
    check_scale(corners, shape, file)
    return "POLYGON ICRS " + " ".join(f"{ra:.9f} {dec:.9f}" for ra, dec in corners)


def check_scale(corners: Sequence[tuple[float, float]], shape: tuple[int, int], file: object) -> None:
    """Refuse a WCS that collapses, blows up or leaves the sky."""
    from roman_assets.survey.sky import separation_deg

    ny, nx = shape
    low, high = PIXEL_SCALE_ARCSEC
    if not all(math.isfinite(value) for corner in corners for value in corner):
        raise Rejected(Reason.WCS, "a corner of the image is not on the sky", file=file, field="meta.wcs")
    for first, second, pixels in ((0, 1, nx), (1, 2, ny), (2, 3, nx), (3, 0, ny)):
        scale = separation_deg(*corners[first], *corners[second]) * 3600.0 / pixels
        if not low <= scale <= high:
            problem = f"the pixel scale is {scale:.4g} arcsec, not within {low} to {high}"
            raise Rejected(Reason.WCS, problem, file=file, field="meta.wcs")


def _kind(node: Node) -> str:
    """``shift`` of a tag ``.../transform/shift-1.4.0``."""
    return str(node.tag).rsplit("/", 1)[-1].rsplit("-", 1)[0]


def _transform(node: Node | None) -> Callable[[Values], Values]:
    if node is None:
        raise Unsupported("a step has no transform")
    make = _TRANSFORMS.get(_kind(node))
    if make is None:
        raise Unsupported(f"transform {_kind(node)}")
    return make(node)


def _numbers(node: Node, key: str) -> list[list[float]] | list[float]:
    value = child(node, key)
    data = plain(child(value, "data")) if child(value, "data") is not None else plain(value)
    if not isinstance(data, list):
        raise Unsupported(f"{key} is not in the header")
    return data


def _number(node: Node, key: str) -> float:
    value = plain(child(node, key))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unsupported(f"{key} is not a plain number")
    return float(value)


def _parts(node: Node) -> list[Node]:
    parts = child(node, "forward")
    if not isinstance(parts, SequenceNode) or not parts.value:
        raise Unsupported("a compound transform without parts")
    return list(parts.value)


def _compose(node: Node) -> Callable[[Values], Values]:
    parts = [_transform(part) for part in _parts(node)]

    def apply(values: Values) -> Values:
        for part in parts:
            values = part(values)
        return values

    return apply


def _concatenate(node: Node) -> Callable[[Values], Values]:
    parts = [(len(plain(child(part, "inputs")) or []), _transform(part)) for part in _parts(node)]
    if not all(count for count, _ in parts):
        raise Unsupported("a transform does not say its inputs")

    def apply(values: Values) -> Values:
        out: Values = []
        start = 0
        for count, part in parts:
            out += part(values[start : start + count])
            start += count
        return out

    return apply


def _shift(node: Node) -> Callable[[Values], Values]:
    offset = _number(node, "offset")
    return lambda values: [values[0] + offset]


def _scale(node: Node) -> Callable[[Values], Values]:
    factor = _number(node, "factor")
    return lambda values: [values[0] * factor]


def _identity(node: Node) -> Callable[[Values], Values]:
    return lambda values: values


def _remap_axes(node: Node) -> Callable[[Values], Values]:
    mapping = plain(child(node, "mapping"))
    if not isinstance(mapping, list) or not all(type(i) is int and i >= 0 for i in mapping):
        raise Unsupported("a mapping of axes that is not plain")
    return lambda values: [values[i] for i in mapping]


def _affine(node: Node) -> Callable[[Values], Values]:
    matrix, translation = _numbers(node, "matrix"), _numbers(node, "translation")
    try:
        (a, b), (c, d) = [[float(value) for value in row] for row in matrix]  # type: ignore[union-attr]
        e, f = (float(value) for value in translation)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Unsupported("an affine transform that is not 2 x 2") from None
    return lambda values: [a * values[0] + b * values[1] + e, c * values[0] + d * values[1] + f]


def _polynomial(node: Node) -> Callable[[Values], Values]:
    """Two-dimensional power series: coefficient [i][j] multiplies x**i y**j."""
    rows = _numbers(node, "coefficients")
    for key in ("domain", "window"):
        if plain(child(node, key)) not in (None, [[-1, 1], [-1, 1]]):
            raise Unsupported("a polynomial with a scaled domain")
    try:
        table = [[float(value) for value in row] for row in rows]  # type: ignore[union-attr]
    except (TypeError, ValueError):
        raise Unsupported("a polynomial that is not two-dimensional") from None

    def apply(values: Values) -> Values:
        x, y = values
        total = 0.0
        for row in reversed(table):
            in_y = 0.0
            for value in reversed(row):
                in_y = in_y * y + value
            total = total * x + in_y
        return [total]

    return apply


def _gnomonic(node: Node) -> Callable[[Values], Values]:
    if plain(child(node, "direction")) != "pix2sky":
        raise Unsupported("a projection from sky to pixel")

    def apply(values: Values) -> Values:
        x, y = values
        return [math.degrees(math.atan2(x, -y)), math.degrees(math.atan2(math.degrees(1.0), math.hypot(x, y)))]

    return apply


def _rotate3d(node: Node) -> Callable[[Values], Values]:
    if plain(child(node, "direction")) != "native2celestial":
        raise Unsupported("a rotation other than native to celestial")
    ra_pole, dec_pole, lon_pole = (_number(node, key) for key in ("phi", "theta", "psi"))
    sin_pole, cos_pole = math.sin(math.radians(dec_pole)), math.cos(math.radians(dec_pole))

    def apply(values: Values) -> Values:
        lon, lat = math.radians(values[0] - lon_pole), math.radians(values[1])
        sin_lat, cos_lat = math.sin(lat), math.cos(lat)
        x = sin_lat * cos_pole - cos_lat * sin_pole * math.cos(lon)
        y = -cos_lat * math.sin(lon)
        z = sin_lat * sin_pole + cos_lat * cos_pole * math.cos(lon)
        return [ra_pole + math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))]

    return apply


_TRANSFORMS: dict[str, Callable[[Node], Callable[[Values], Values]]] = {
    "affine": _affine,
    "compose": _compose,
    "concatenate": _concatenate,
    "gnomonic": _gnomonic,
    "identity": _identity,
    "polynomial": _polynomial,
    "remap_axes": _remap_axes,
    "rotate3d": _rotate3d,
    "scale": _scale,
    "shift": _shift,
}
