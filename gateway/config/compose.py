"""YAML text to nodes: events of the parser in, a tree with places out, within bounds.

The parser is PyYAML's (libyaml where it is built in), used only for its events: which scalar is a number is decided by
the YAML 1.2 core schema (see `nodes`), not by PyYAML's YAML 1.1. Refused: tags, a second document, keys that are no
scalars or stand twice. Aliases share the node of their anchor; what they would amount to if written out is bounded, so
that a few lines cannot stand for billions of nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from .nodes import Items, Node, Scalar, Table
from .problems import Problem, render_path, shown_key

DEEPEST = 32  # levels of lists and mappings; the model has 8
MOST_ALIASED = 100_000  # nodes that all aliases together stand for

_TOO_DEEP = "maximum nesting depth"  # in libyaml's words
_TAG = "a tag (!…): the configuration has none; quote a text that begins with !"
_SURROGATE = re.compile("[\ud800-\udfff]")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # YAML 1.2.2, 5.1


class Refused(Exception):
    """The text is not a document that can be read any further."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read. key: the one that waits for its value. drop: a key given twice."""

    node: Items | Table
    anchor: str | None
    size: int = 1
    key: Scalar | None = None
    drop: bool = False


class Composer:
    """Reads one file. `problems` are those that reading could go on after."""

    def __init__(self, name: str, file: int) -> None:
        self.problems: list[Problem] = []
        self._name = name
        self._file = file
        self._open: list[_Open] = []
        self._root: Node | None = None
        self._anchors: dict[str, tuple[Node, int] | None] = {}  # None: not complete yet
        self._aliased = 0

    def compose(self, text: str) -> Node | None:
        """The root; None for a text without any node. Refused tells where the text stops being acceptable YAML."""
        found = _UNPRINTABLE.search(text)
        if found:
            why = "a character that YAML does not allow: this is not a text file"
            raise self._refused(why, *place_in(text, found.start()))
        take: dict[type[yaml.Event], Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        try:
            for event in yaml.parse(text, _Loader):
                handle = take.get(type(event))
                if handle:
                    handle(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            if _TOO_DEEP in str(error.problem):  # libyaml 0.2.6 and later stop by themselves, before our look at it
                raise self._refused(f"nested deeper than {DEEPEST} levels", line, column) from None
            hint = "; within [] and {} a ${…} needs quotes" if "${" in _line(text, line) else ""
            raise self._refused(f"not YAML: {_phrase(error)}{hint}", line, column) from None
        except yaml.YAMLError:
            raise self._refused("not YAML", 1, 1) from None
        return self._root

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        if self._root is not None:
            raise self._at(event, "a second document: one file is one document")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag:
            raise self._at(event, _TAG)
        text = event.value
        if not text.isascii() and _SURROGATE.search(text):
            raise self._at(event, "an escape for half a character")
        scalar = Scalar(self._file, *_place(event), text, not event.style)
        self._add(scalar, 1)
        if event.anchor:
            self._anchors[event.anchor] = (scalar, 1)

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if event.tag:
            raise self._at(event, _TAG)
        if self._waits_for_key():
            raise self._at(event, "a list or mapping as a key: keys are names")
        if len(self._open) >= DEEPEST:
            raise self._at(event, f"nested deeper than {DEEPEST} levels")
        kind = Table if isinstance(event, yaml.MappingStartEvent) else Items
        self._open.append(_Open(kind(self._file, *_place(event)), event.anchor))
        if event.anchor:
            self._anchors[event.anchor] = None

    def _end(self, event: yaml.MappingEndEvent | yaml.SequenceEndEvent) -> None:
        closed = self._open.pop()
        if closed.anchor:
            self._anchors[closed.anchor] = (closed.node, closed.size)
        self._add(closed.node, closed.size)

    def _alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise self._at(event, "an alias (*…) without its anchor (&…); quote a text that begins with *")
        known = self._anchors[event.anchor]
        if known is None:
            raise self._at(event, "an alias (*…) within its own anchor")
        if self._waits_for_key():
            raise self._at(event, "an alias as a key: keys are names")
        node, size = known
        self._aliased += size
        if self._aliased > MOST_ALIASED:
            raise self._at(event, f"aliases that stand for more than {MOST_ALIASED} nodes")
        self._add(node, size)

    def _waits_for_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].node, Table) and self._open[-1].key is None

    def _add(self, node: Node, size: int) -> None:
        """Put a complete node where it belongs."""
        if not self._open:
            self._root = node
            return
        top = self._open[-1]
        top.size += size
        if isinstance(top.node, Items):
            top.node.items.append(node)
        elif top.key is None:
            if isinstance(node, Scalar):  # nothing else gets past `_begin`
                self._key(top, node)
        else:
            if not top.drop:
                top.node.entries[top.key.text] = (top.key, node)
            top.key = None

    def _key(self, top: _Open, key: Scalar) -> None:
        top.key = key
        first = top.node.entries.get(key.text) if isinstance(top.node, Table) else None
        top.drop = first is not None
        if first:
            why = f"the key {shown_key(key.text)} stands twice; the first is in line {first[0].line}"
            self.problems.append(self._problem(why, key.line, key.column))

    def _at(self, event: yaml.Event, why: str) -> Refused:
        return self._refused(why, *_place(event))

    def _refused(self, why: str, line: int, column: int) -> Refused:
        return Refused(self._problem(why, line, column))

    def _problem(self, why: str, line: int, column: int) -> Problem:
        keys: list[str | int] = []
        for one in self._open:
            if isinstance(one.node, Items):
                keys.append(len(one.node.items))
            elif one.key:
                keys.append(one.key.text)
        return Problem(file=self._name, line=line, column=column, path=render_path(keys), why=why)


def place_in(text: str, position: int) -> tuple[int, int]:
    """(line, column), both from 1, of a position in a text."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def _phrase(error: yaml.MarkedYAMLError) -> str:
    """The parser's own words, but none of the text that some of its messages quote: only single characters."""
    words = ", ".join(part for part in (error.context, error.problem) if part)
    return re.sub(r"'([^']*)'|\"[^\"]*\"", _kept, words) or "it cannot be parsed"


def _line(text: str, number: int) -> str:
    lines = text.split("\n")
    return lines[number - 1] if number <= len(lines) else ""


def _kept(quoted: re.Match[str]) -> str:
    return quoted[0] if quoted[1] and len(quoted[1]) == 1 else "…"


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
