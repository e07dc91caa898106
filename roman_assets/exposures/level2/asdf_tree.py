"""The YAML tree of an untrusted ASDF file: composed to nodes, checked, turned into plain values on demand.

Nothing is constructed from a tag.  Nodes keep the identity of aliases, so a bomb of aliases costs nothing
until it is expanded, which never happens: its expanded size is computed and refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from roman_assets.exposures.rejection import DEFAULT_LIMITS, Limits, Reason, Rejected
from roman_assets.text import printable

_YAML = "tag:yaml.org,2002:"
_CORE_TAGS = frozenset(_YAML + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp"))
# What a Level 2 file is written with.  What a reader would do with any other tag, nobody knows.
ALLOWED_TAG_PREFIXES = (
    "tag:stsci.edu:asdf/core/",
    "tag:stsci.edu:asdf/time/",
    "tag:stsci.edu:asdf/transform/",
    "tag:stsci.edu:asdf/unit/",
    "tag:stsci.edu:asdf/fits/",
    "tag:stsci.edu:gwcs/",
    "tag:astropy.org:astropy/",
    "asdf://asdf-format.org/core/",
    "asdf://asdf-format.org/time/",
    "asdf://asdf-format.org/astronomy/",
    "asdf://asdf-format.org/transform/",
    "asdf://astropy.org/",
    "asdf://stsci.edu/datamodels/roman/",
)
_EXTERNAL_TAGS = ("core/externalarray-", "core/external-")
_ROMAN_TAG = "asdf://stsci.edu/datamodels/roman/"
_ARRAY_TAG = "core/ndarray-"
_TRANSFORM_TAG = "transform/"
# A text with fewer collection openers than this cannot nest deeply enough to exhaust the C stack.
_SAFE_OPENERS = 8_000
_OPENERS = (b"[", b"{", b"- ", b"? ", b"-\t", b"?\t")
_SEPARATORS = (*_OPENERS, b",", b":", b"\n", b"\r")  # each makes two nodes at most


def compose(text: bytes, file: object, limits: Limits = DEFAULT_LIMITS) -> MappingNode:
    """Parse a tree to nodes and check all of it.  Raises Rejected."""
    try:
        _check_size(text, file, limits)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = printable(" ".join(str(error).split()), 200)
        raise Rejected(Reason.YAML_INVALID, f"the YAML tree cannot be parsed: {where}", file=file) from error
    if not isinstance(root, MappingNode):
        raise Rejected(Reason.YAML_INVALID, "the YAML tree is not a mapping", file=file)
    _Checker(file, limits).check(root)
    return root


def _check_size(text: bytes, file: object, limits: Limits) -> None:
    """Refuse what would make composing expensive: directives, deep nesting, very many nodes.

    Composing recurses in C and takes half a kB a node.  Indentation alone nests by at most the square root of
    twice the text; counting the other openers is fast and bounds the rest, and so it is with nodes.  Only a text
    with very many of either is parsed event by event (which neither recurses nor keeps anything).
    """
    if text.count(b"\n%") > limits.yaml_directives:  # the parser compares each with all others
        problem = f"the YAML tree has more than {limits.yaml_directives} directives"
        raise Rejected(Reason.YAML_TOO_LARGE, problem, file=file)
    few_openers = sum(text.count(opener) for opener in _OPENERS) <= _SAFE_OPENERS
    if few_openers and 2 * sum(text.count(separator) for separator in _SEPARATORS) <= limits.yaml_nodes:
        return
    depth = nodes = 0
    for event in yaml.parse(text, Loader=yaml.CBaseLoader):
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            if nodes > limits.yaml_nodes:
                problem = f"the YAML tree has more than {limits.yaml_nodes} nodes"
                raise Rejected(Reason.YAML_TOO_LARGE, problem, file=file)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > limits.yaml_depth:
                raise _too_deep(file, limits)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(file: object, limits: Limits) -> Rejected:
    problem = f"the YAML tree nests deeper than {limits.yaml_depth}"
    return Rejected(Reason.YAML_TOO_DEEP, problem, file=file)


class _Weight(NamedTuple):
    """What a node expands to: all nodes, and among them objects and transforms."""

    nodes: int
    objects: int
    transforms: int


_OPEN = _Weight(0, 0, 0)
_SCALAR = _Weight(1, 0, 0)


class _Checker:
    """One walk over all nodes, each once: tags, references, aliases, depth, keys, scalars, and what all of it costs."""

    def __init__(self, file: object, limits: Limits) -> None:
        self.file = file
        self.limits = limits
        self.weights: dict[int, _Weight] = {}  # by node identity; _OPEN while a node is open
        self.tags: set[str] = set(_CORE_TAGS)
        self.aliases = 0
        self.path: list[str] = []  # keys that lead to where the walk is

    def check(self, root: Node) -> None:
        found = self._weight(root, 0)
        limits = self.limits
        for name, count, most, reason in (
            ("nodes", found.nodes, limits.yaml_nodes, Reason.ALIAS_BOMB),
            ("objects", found.objects, limits.objects, Reason.YAML_TOO_LARGE),
            ("transforms", found.transforms, limits.transforms, Reason.YAML_TOO_LARGE),
        ):
            if count > most:
                problem = f"the YAML tree has more than {most} {name} once aliases are expanded"
                raise Rejected(reason, problem, file=self.file)

    def _weight(self, node: Node, depth: int) -> _Weight:
        known = self.weights.get(id(node))
        if known is not None:
            return self._alias(known)
        if node.tag not in self.tags:
            self._check_tag(node)
        if isinstance(node, ScalarNode):
            if node.tag in _CHECKED:
                self._check_scalar(node)
            return _Weight(1, int(_is_object(node)), 0)
        if depth >= self.limits.yaml_depth:
            raise _too_deep(self.file, self.limits)
        self.weights[id(node)] = _OPEN
        is_mapping = isinstance(node, MappingNode)
        if isinstance(node, MappingNode):
            self._check_mapping(node)
        nodes = 1 + (len(node.value) if is_mapping else 0)
        objects, transforms = int(_is_object(node)), int(_TRANSFORM_TAG in node.tag)
        for item in node.value:
            value = item[1] if is_mapping else item
            if is_mapping:
                self.path.append(item[0].value)
            if value.__class__ is ScalarNode and value.tag in _CORE_TAGS:
                nodes += 1
                if value.tag in _CHECKED:
                    self._check_scalar(value)
            else:
                weight = self._weight(value, depth + 1)
                nodes += weight.nodes
                objects += weight.objects
                transforms += weight.transforms
            if is_mapping:
                self.path.pop()
        if isinstance(node, MappingNode) and transforms and _TRANSFORM_TAG in node.tag:
            self._check_polynomial(node)
        self.weights[id(node)] = found = _Weight(nodes, objects, transforms)
        return found

    def _alias(self, known: _Weight) -> _Weight:
        if known is _OPEN:
            raise Rejected(Reason.ALIAS_BOMB, "a YAML alias holds itself", file=self.file)
        self.aliases += 1
        if self.aliases > self.limits.yaml_aliases:
            problem = f"the YAML tree has more than {self.limits.yaml_aliases} aliases"
            raise Rejected(Reason.ALIAS_BOMB, problem, file=self.file)
        return known

    def _check_tag(self, node: Node) -> None:
        tag = node.tag
        line = node.start_mark.line + 1
        if any(external in tag for external in _EXTERNAL_TAGS):
            problem = f"an external array at line {line}"
            raise Rejected(Reason.EXTERNAL_REFERENCE, problem, file=self.file, field=printable(tag, 120))
        if not str(tag).startswith(ALLOWED_TAG_PREFIXES):
            problem = f"unknown tag {str(tag)[:120]!r} at line {line}"
            raise Rejected(Reason.UNKNOWN_TAG, problem, file=self.file)
        self.tags.add(tag)

    def _check_scalar(self, node: ScalarNode) -> None:
        """A number, truth value or date must be one: what a reader makes of it otherwise is any exception."""
        kind = node.tag.removeprefix(_YAML)
        if len(node.value) > self.limits.number_characters:  # in base 60, converting takes for ever
            problem = f"a YAML {kind} of {len(node.value)} characters, more than {self.limits.number_characters}"
            raise Rejected(Reason.HEADER_INVALID, problem, file=self.file, field=self._where())
        try:
            _CHECKED[node.tag](node)
        except Exception as error:
            problem = f"{node.value!r} is no YAML {kind}"
            raise Rejected(Reason.HEADER_INVALID, problem, file=self.file, field=self._where()) from error

    def _check_polynomial(self, node: MappingNode) -> None:
        """The reader makes one parameter per coefficient, slowly."""
        coefficients = child(node, "coefficients")
        if coefficients is None:
            return
        shape = plain(child(coefficients, "shape"))
        terms = math.prod(n for n in shape if isinstance(n, int)) if isinstance(shape, list) else 0
        inline = self.weights.get(id(coefficients), _SCALAR).nodes
        if terms > self.limits.polynomial_terms or inline > 2 * self.limits.polynomial_terms:
            problem = f"a polynomial of {max(terms, inline)} terms, more than {self.limits.polynomial_terms}"
            raise Rejected(Reason.HEADER_INVALID, problem, file=self.file, field=self._where())

    def _where(self) -> str | None:
        keys = self.path[1:] if self.path[:1] == ["roman"] else self.path
        return printable(".".join(keys), 120) or None

    def _check_mapping(self, node: MappingNode) -> None:
        names = []
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise Rejected(Reason.YAML_INVALID, "a mapping key is not a scalar", file=self.file)
            if key.tag not in self.tags:
                self._check_tag(key)
            if key.tag in _CHECKED:
                self._check_scalar(key)
            names.append(key.value)
        unique = set(names)
        line = node.start_mark.line + 1
        if len(unique) != len(names):
            problem = f"a key is given twice in the mapping at line {line}"
            raise Rejected(Reason.YAML_INVALID, problem, file=self.file)
        if "$ref" in unique:
            problem = f"a $ref to another document at line {line}"
            raise Rejected(Reason.EXTERNAL_REFERENCE, problem, file=self.file, field="$ref")
        if "source" in unique and (_is_array(node) or "datatype" in unique or "shape" in unique):
            source = child(node, "source")
            if source is None or source.tag != _YAML + "int":
                problem = f"the array at line {line} takes its data from outside the file"
                raise Rejected(Reason.EXTERNAL_REFERENCE, problem, file=self.file, field="source")


def _is_array(node: Node) -> bool:
    return _ARRAY_TAG in node.tag


def _is_object(node: Node) -> bool:
    """True for a tag that the reader makes something of, other than an array, which waits until it is asked for."""
    tag = node.tag
    return not (tag.startswith((_YAML, _ROMAN_TAG)) or _ARRAY_TAG in tag)


def child(node: Node | None, *path: str) -> Node | None:
    """The node under a path of mapping keys, or None."""
    for name in path:
        if not isinstance(node, MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == name), None)
    return node


def arrays(root: Node) -> Iterator[tuple[MappingNode, bool]]:
    """Every ndarray node of the tree, and whether it is a part of an object; once for either."""
    seen: set[tuple[int, bool]] = set()
    open_nodes: list[tuple[Node, bool]] = [(root, False)]
    while open_nodes:
        node, of_object = open_nodes.pop()
        if isinstance(node, ScalarNode) or (id(node), of_object) in seen:
            continue
        seen.add((id(node), of_object))
        of_object = of_object or (_is_object(node) and "core/asdf-" not in node.tag)
        if isinstance(node, MappingNode):
            if _is_array(node):
                yield node, of_object
                continue
            open_nodes.extend((value, of_object) for _, value in node.value)
        elif isinstance(node, SequenceNode):
            open_nodes.extend((value, of_object) for value in node.value)


_CONSTRUCT = yaml.constructor.SafeConstructor()
_SCALARS = {
    _YAML + "int": _CONSTRUCT.construct_yaml_int,
    _YAML + "float": _CONSTRUCT.construct_yaml_float,
    _YAML + "bool": _CONSTRUCT.construct_yaml_bool,
    _YAML + "null": _CONSTRUCT.construct_yaml_null,
}
_CHECKED = {
    **{tag: construct for tag, construct in _SCALARS.items() if tag != _YAML + "null"},
    _YAML + "timestamp": _CONSTRUCT.construct_yaml_timestamp,
}


def plain(node: Node | None) -> Any:
    """A checked node as dict, list, int, float, bool, None or str; tags are dropped, other scalars text."""
    if node is None:
        return None
    if isinstance(node, MappingNode):
        return {key.value: plain(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [plain(value) for value in node.value]
    assert isinstance(node, ScalarNode)
    construct = _SCALARS.get(node.tag)
    try:
        return construct(node) if construct else node.value
    except (ValueError, OverflowError, LookupError):
        return node.value
