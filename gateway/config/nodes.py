"""A YAML document as a tree that knows where each piece stands, and the scalars of the YAML 1.2 core schema."""

from __future__ import annotations

import re
from typing import Literal

from .problems import shown_text

Kind = Literal["null", "flag", "whole", "number", "text", "list", "mapping"]


class Node:
    """file: index in `Document.files`. line, column: from 1."""

    __slots__ = ("column", "file", "line")
    kind: Kind

    def __init__(self, file: int, line: int, column: int) -> None:
        self.file = file
        self.line = line
        self.column = column


class Scalar(Node):
    """text: as YAML gives it, `${…}` still in it. plain: written without quotes."""

    __slots__ = ("plain", "text")

    def __init__(self, file: int, line: int, column: int, text: str, plain: bool) -> None:
        super().__init__(file, line, column)
        self.text = text
        self.plain = plain

    @property
    def kind(self) -> Kind:  # type: ignore[override]  # read-only is enough
        return kind_of(self.text) if self.plain else "text"


class Items(Node):
    """numbers: of each item in its own file, once lists of several files are joined."""

    __slots__ = ("items", "numbers")
    kind: Kind = "list"

    def __init__(self, file: int, line: int, column: int) -> None:
        super().__init__(file, line, column)
        self.items: list[Node] = []
        self.numbers: list[int] | None = None


class Table(Node):
    """entries: key -> (the key's node, the value's node), in order."""

    __slots__ = ("entries",)
    kind: Kind = "mapping"

    def __init__(self, file: int, line: int, column: int) -> None:
        super().__init__(file, line, column)
        self.entries: dict[str, tuple[Scalar, Node]] = {}

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry[1] if entry else None


# YAML 1.2.2, 10.3.2
_NULL = {"", "~", "null", "Null", "NULL"}
_FLAGS = {"true", "True", "TRUE", "false", "False", "FALSE"}
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def kind_of(text: str) -> Kind:
    """What a plain scalar is in the YAML 1.2 core schema."""
    if text in _NULL:
        return "null"
    if text in _FLAGS:
        return "flag"
    if text[0] in "+-.0123456789":
        if _WHOLE.fullmatch(text):
            return "whole"
        if _NUMBER.fullmatch(text):
            return "number"
    return "text"


_WORDS = {"null": "null", "list": "a list", "mapping": "a mapping", "text": "a text", "flag": "true or false"}


def describe(node: Node, *, secret: bool = False) -> str:
    """A node for an error message, as written. secret: only what kind of thing it is."""
    if not isinstance(node, Scalar) or secret or node.kind == "null":
        return _WORDS.get(node.kind, "a number")
    text = shown_text(node.text)
    if node.kind == "text":
        return text
    return f"the number {text[1:-1]}" if node.kind in ("whole", "number") else text[1:-1]
