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
Sky = Callable[[float, float], tuple[float, float]]
PIXEL_SCALE_ARCSEC = (0.05, 0.2)  # the WFI's is 0.11 everywhere on its field
MIN_SQUARENESS = 0.8  # area of a pixel over the product of its sides; the WFI's is 1.00
MIN_ALIGNED = 0.9  # cosine between the axes of two footprints of one detector
_NO_EXTENT_DEG = 1e-7
_CELLS = 4  # the scale is looked at in 4 x 4 parts: corners alone say nothing of the inside


class Unsupported(Exception):
    """The header's WCS holds something that only gwcs can evaluate."""


def chain(wcs: Node | None) -> Sky:
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


def polygon(sky: Sky, shape: tuple[int, int], file: object) -> str:
    """``POLYGON ICRS ra dec ...`` [deg] of the outer corners of the image of ``shape`` (ny, nx).

    Raises Rejected (wcs_degenerate) if the image is not on the sky, or anywhere on it the pixels have not the
    instrument's scale or are not square.
    """
    ny, nx = shape
    xs, ys = (_edges(n) for n in (nx, ny))
    grid = [[sky(x, y) for x in xs] for y in ys]
    for j in range(len(ys) - 1):
        for i in range(len(xs) - 1):
            corners = [grid[j][i], grid[j][i + 1], grid[j + 1][i + 1], grid[j + 1][i]]
            check_scale(corners, (ys[j + 1] - ys[j], xs[i + 1] - xs[i]), file)
    last = grid[-1]
    return "POLYGON ICRS " + " ".join(f"{ra:.9f} {dec:.9f}" for ra, dec in (grid[0][0], grid[0][-1], last[-1], last[0]))


def _edges(pixels: int) -> list[float]:
    return [pixels * i / _CELLS - 0.5 for i in range(_CELLS + 1)]


def check_scale(corners: Sequence[tuple[float, float]], shape: tuple[float, float], file: object) -> None:
    """Refuse a WCS that collapses, blows up, shears or leaves the sky within a quadrangle of ``shape`` pixels."""
    ny, nx = shape
    low, high = PIXEL_SCALE_ARCSEC
    if not all(math.isfinite(ra) and -90.0 <= dec <= 90.0 for ra, dec in corners):
        raise Rejected(Reason.WCS, "a part of the image is not on the sky", file=file, field="meta.wcs")
    points = [(0.0, 0.0), *(_offset(corner, corners[0]) for corner in corners[1:])]
    sides, area = [], 0.0
    for (x0, y0), (x1, y1), pixels in zip(points, [*points[1:], points[0]], (nx, ny, nx, ny), strict=True):
        scale = math.hypot(x1 - x0, y1 - y0) * 3600.0 / pixels
        if not low <= scale <= high:
            problem = f"the pixel scale is {scale:.4g} arcsec, not within {low} to {high}"
            raise Rejected(Reason.WCS, problem, file=file, field="meta.wcs")
        sides.append(scale)
        area += 0.5 * (x0 * y1 - x1 * y0) * 3600.0**2 / (nx * ny)
    if abs(area) < MIN_SQUARENESS * sides[0] * sides[3]:
        problem = f"a pixel covers {abs(area):.4g} square arcsec: its axes are not at right angles on the sky"
        raise Rejected(Reason.WCS, problem, file=file, field="meta.wcs")


def agrees(ours: str, theirs: object) -> bool:
    """Whether two footprints may be of one image; True if either is no footprint.

    ``theirs`` may be that of the whole detector of which ours is a part.  Its corners may be counted along either
    axis first, so that a mirror image, a turn and another place are told, but not an exchange of the axes.
    """
    first, second = corners_of(ours), corners_of(theirs)
    if not first or not second:
        return True
    middle = _middle(second)
    if math.hypot(*_offset(_middle(first), middle)) > 1.2 * math.hypot(*_offset(second[0], middle)):
        return False
    x, y = _axes(first)
    along, across = _axes(second)
    return min(_dot(x, along), _dot(y, across)) > MIN_ALIGNED or min(_dot(x, across), _dot(y, along)) > MIN_ALIGNED


def _axes(corners: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Directions from the first corner to the second and to the last, of unit length."""
    found = []
    for corner in (corners[1], corners[3]):
        east, north = _offset(corner, corners[0])
        length = math.hypot(east, north) or 1.0
        found.append((east / length, north / length))
    return found[0], found[1]


def _dot(first: tuple[float, float], second: tuple[float, float]) -> float:
    return first[0] * second[0] + first[1] * second[1]


def corners_of(region: object) -> list[tuple[float, float]]:
    """The four (ra, dec) [deg] of ``POLYGON ICRS ra dec ...``; none if it is not such a text."""
    words = region.split() if isinstance(region, str) and len(region) < 1000 else []
    if len(words) != 10 or [word.upper() for word in words[:2]] != ["POLYGON", "ICRS"]:
        return []
    try:
        numbers = [float(word) for word in words[2:]]
    except ValueError:
        return []
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    return corners if all(math.isfinite(ra) and -90.0 <= dec <= 90.0 for ra, dec in corners) else []


def _offset(point: tuple[float, float], origin: tuple[float, float]) -> tuple[float, float]:
    """East and north of a point near ``origin`` [deg]: gnomonic, so that it holds at the poles too."""
    da, d, d0 = math.radians(point[0] - origin[0]), math.radians(point[1]), math.radians(origin[1])
    depth = math.sin(d) * math.sin(d0) + math.cos(d) * math.cos(d0) * math.cos(da)
    if depth <= 0:
        return math.inf, math.inf
    east = math.cos(d) * math.sin(da) / depth
    north = (math.sin(d) * math.cos(d0) - math.cos(d) * math.sin(d0) * math.cos(da)) / depth
    return math.degrees(east), math.degrees(north)


def position_angle(region: object) -> float | None:
    """Position angle of +y, east of north [deg], 0 to 360, of a footprint as `polygon` writes it; None if it is none.

    The corners must be counted from the first pixel along x, as those of `polygon` are: a file's own `s_region` need not be.
    """
    corners = corners_of(region)
    if not corners:
        return None
    offsets = [_offset(corner, _middle(corners)) for corner in corners]
    east, north = (b[2] + b[3] - b[0] - b[1] for b in zip(*offsets, strict=True))
    # A footprint far from its own middle, or without extent, has no direction.
    if not math.isfinite(east + north) or math.hypot(east, north) < _NO_EXTENT_DEG:
        return None
    return math.degrees(math.atan2(east, north)) % 360.0


def _middle(corners: Sequence[tuple[float, float]]) -> tuple[float, float]:
    offsets = [_offset(corner, corners[0]) for corner in corners]
    east, north = (sum(values) / len(values) for values in zip(*offsets, strict=True))
    dec = corners[0][1] + north
    return corners[0][0] + east / max(math.cos(math.radians(dec)), 1e-6), dec


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
