"""The YAML tree of an untrusted ASDF file: composed to nodes, checked, turned into plain values on demand.

Nothing is constructed from a tag.  Nodes keep the identity of aliases, so a bomb of aliases costs nothing
until it is expanded, which never happens: its expanded size is computed and refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from roman_assets.exposures.rejection import DEFAULT_LIMITS, Limits, Reason, Rejected

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
# A text with fewer collection openers than this cannot nest deeply enough to exhaust the C stack.
_SAFE_OPENERS = 8_000
_OPENERS = (b"[", b"{", b"- ", b"? ", b"-\t", b"?\t")


def compose(text: bytes, file: object, limits: Limits = DEFAULT_LIMITS) -> MappingNode:
    """Parse a tree to nodes and check all of it.  Raises Rejected."""
    try:
        _check_nesting(text, file, limits)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())[:200]
        raise Rejected(Reason.YAML_INVALID, f"the YAML tree cannot be parsed: {where}", file=file) from error
    if not isinstance(root, MappingNode):
        raise Rejected(Reason.YAML_INVALID, "the YAML tree is not a mapping", file=file)
    _Checker(file, limits).check(root)
    return root


def _check_nesting(text: bytes, file: object, limits: Limits) -> None:
    """Composing recurses in C: refuse deep nesting first.

    Indentation alone nests by at most the square root of twice the text; counting the other openers is fast
    and bounds the rest.  Only a text with very many of them is parsed event by event (which does not
    recurse).
    """
    if sum(text.count(opener) for opener in _OPENERS) <= _SAFE_OPENERS:
        return
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CBaseLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > limits.yaml_depth:
                raise _too_deep(file, limits)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(file: object, limits: Limits) -> Rejected:
    problem = f"the YAML tree nests deeper than {limits.yaml_depth}"
    return Rejected(Reason.YAML_TOO_DEEP, problem, file=file)


class _Checker:
    """One walk over all nodes, each once: tags, references, aliases, depth, keys."""

    def __init__(self, file: object, limits: Limits) -> None:
        self.file = file
        self.limits = limits
        self.sizes: dict[int, int] = {}  # expanded size by node identity; 0 while a node is open
        self.tags: set[str] = set(_CORE_TAGS)
        self.aliases = 0

    def check(self, root: Node) -> None:
        if self._size(root, 0) > self.limits.yaml_nodes:
            problem = f"the YAML tree has more than {self.limits.yaml_nodes} nodes once aliases are expanded"
            raise Rejected(Reason.ALIAS_BOMB, problem, file=self.file)

    def _size(self, node: Node, depth: int) -> int:
        known = self.sizes.get(id(node))
        if known is not None:
            return self._alias(node, known)
        if node.tag not in self.tags:
            self._check_tag(node)
        if isinstance(node, ScalarNode):
            return 1
        if depth >= self.limits.yaml_depth:
            raise _too_deep(self.file, self.limits)
        self.sizes[id(node)] = 0
        size = 1
        if isinstance(node, MappingNode):
            self._check_mapping(node)
            for _, value in node.value:
                size += 1 + (
                    1 if value.__class__ is ScalarNode and value.tag in self.tags else self._size(value, depth + 1)
                )
        else:
            for value in node.value:
                size += 1 if value.__class__ is ScalarNode and value.tag in self.tags else self._size(value, depth + 1)
        self.sizes[id(node)] = size
        return size

    def _alias(self, node: Node, known: int) -> int:
        if known == 0:
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
            raise Rejected(Reason.EXTERNAL_REFERENCE, problem, file=self.file, field=str(tag)[:120])
        if not str(tag).startswith(ALLOWED_TAG_PREFIXES):
            problem = f"unknown tag {str(tag)[:120]!r} at line {line}"
            raise Rejected(Reason.UNKNOWN_TAG, problem, file=self.file)
        self.tags.add(tag)

    def _check_mapping(self, node: MappingNode) -> None:
        names = []
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise Rejected(Reason.YAML_INVALID, "a mapping key is not a scalar", file=self.file)
            if key.tag not in self.tags:
                self._check_tag(key)
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
    return "core/ndarray-" in node.tag


def child(node: Node | None, *path: str) -> Node | None:
    """The node under a path of mapping keys, or None."""
    for name in path:
        if not isinstance(node, MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == name), None)
    return node


def arrays(root: Node) -> Iterator[MappingNode]:
    """Every ndarray node of the tree, each once."""
    seen: set[int] = set()
    open_nodes: list[Node] = [root]
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ScalarNode) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, MappingNode):
            if _is_array(node):
                yield node
                continue
            open_nodes.extend(value for _, value in node.value)
        elif isinstance(node, SequenceNode):
            open_nodes.extend(node.value)


_CONSTRUCT = yaml.constructor.SafeConstructor()
_SCALARS = {
    _YAML + "int": _CONSTRUCT.construct_yaml_int,
    _YAML + "float": _CONSTRUCT.construct_yaml_float,
    _YAML + "bool": _CONSTRUCT.construct_yaml_bool,
    _YAML + "null": _CONSTRUCT.construct_yaml_null,
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
    except (ValueError, OverflowError):
        return node.value
