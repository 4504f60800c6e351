"""Nodes to the model, driven by its shapes: every value checked for its type, and every problem noted.

What cannot be read is noted, and something of the right type takes its place, so that reading and the checks after it
can go on; `Document.sound` tells what is real.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import nodes
from .document import Document
from .nodes import Node, Scalar, describe
from .problems import KeyPath, shown_key
from .quantities import UnitError
from .scalars import Mismatch, Scalars
from .shape import MISSING, Choice, Either, Items, Leaf, Nullable, Section, Shape, Table

_FILLERS = {
    "duration": "1s", "size": "1B", "size a second": "1B/s", "share": "1%", "rate": "1/s", "window": "1s",
    "network": "127.0.0.1/32", "secret": "-", "flag": "false", "number": "2",
}  # fmt: skip


class Reader:
    """Reads the nodes of one document.

    under: what each item of the table at a path lies over: keys that it does not name are taken from there.
    """

    def __init__(self, document: Document, scalars: Scalars) -> None:
        self.under: dict[KeyPath, Any] = {}
        self._document = document
        self._scalars = scalars

    def read(self, shape: Shape, node: Node, path: KeyPath, base: Any = None) -> Any:
        """The value of a node. base: what a section lies over, the model's defaults when None."""
        nullable = isinstance(shape, Nullable)
        inner = shape.shape if isinstance(shape, Nullable) else shape
        options = inner.options if isinstance(inner, Either) else (inner,)
        if isinstance(node, Scalar):
            scalars = [option for option in options if isinstance(option, (Leaf, Choice))]
            if scalars or (nullable and node.kind == "null"):
                return self._scalar(shape, scalars, nullable, node, path)
        for option in options:
            if isinstance(option, Items):
                if isinstance(node, nodes.Items):
                    return self._items(option, node, path)
                if option.one and (isinstance(node, nodes.Table) == isinstance(option.item, Section)):
                    return (self.read(option.item, node, path),)
            elif isinstance(node, nodes.Table):
                if isinstance(option, Table):
                    return self._table(option, node, path)
                if isinstance(option, Section):
                    section = self._told_apart(options, node, path) if len(options) > 1 else option
                    return self.section(section, node, path, base) if section else filler(option)
        self._wrong_kind(shape, options, node, path)
        return filler(shape)

    def section(
        self, shape: Section, node: nodes.Table, path: KeyPath, base: Any = None, given: Mapping[str, Any] | None = None
    ) -> Any:
        """An instance of the section's class, or a mapping for overrides. given: keys that are read already."""
        values: dict[str, Any] = {}
        for key, (key_node, value) in node.entries.items():
            field = shape.fields.get(key)
            if field is None:
                self._unknown(shape, key, key_node, path)
            elif given and key in given:
                values[field.name] = given[key]
            else:
                under = None if base is None else getattr(base, field.name)
                values[field.name] = self.read(field.shape, value, (*path, key), under)
        if shape.overrides:
            return MappingProxyType(values)
        if base is None or path == ():
            for field in shape.fields.values():
                if field.name not in values and field.required:
                    self._document.refuse(
                        (*path, field.key), "this key is missing", node=node, allowed=allowed(field.shape)
                    )
                    if field.default is MISSING:
                        values[field.name] = filler(field.shape)
        if base is not None:
            if not values:
                return base
            values = {field.name: getattr(base, field.name) for field in shape.fields.values()} | values
        return shape.type(**values)

    def _scalar(self, shape: Shape, options: list[Leaf | Choice], nullable: bool, node: Scalar, path: KeyPath) -> Any:
        try:
            return self._scalars.read(options, nullable, node)
        except Mismatch as error:
            secret = any(isinstance(option, Leaf) and option.unit.secret for option in options)
            found = describe(node, secret=secret)
            self._document.refuse(path, str(error), node=node, found=found, allowed=allowed(shape), likely=error.likely)
            return filler(shape)

    def _items(self, shape: Items, node: nodes.Items, path: KeyPath) -> tuple[Any, ...]:
        if len(node.items) < shape.least:
            self._document.refuse(path, "empty", node=node, allowed=f"a list of at least {shape.least}")
        return tuple(self.read(shape.item, item, (*path, number)) for number, item in enumerate(node.items))

    def _table(self, shape: Table, node: nodes.Table, path: KeyPath) -> Mapping[str, Any]:
        values: dict[str, Any] = {}
        folded: dict[str, str] = {}
        under = self.under.get(path)
        for key, (key_node, value) in node.entries.items():
            here = (*path, key)
            try:
                shape.key.parse(key)
            except UnitError as error:
                self._document.refuse(here, str(error), node=key_node, allowed=shape.key.allowed, likely=error.likely)
            if shape.key.fold:
                other = folded.setdefault(key.lower(), key)
                if other != key:
                    self._document.refuse(here, f"{shown_key(other)} again in another spelling", node=key_node)
            values[key] = self.read(shape.item, value, here, under)
        return MappingProxyType(values)

    def _told_apart(self, options: tuple[Shape, ...], node: nodes.Table, path: KeyPath) -> Section | None:
        """The section whose `type` the mapping names."""
        sections = [option for option in options if isinstance(option, Section)]
        kinds = {kind: section for section in sections for kind in _values(section.fields["type"].shape)}
        named = node.get("type")
        if isinstance(named, Scalar) and named.text in kinds:
            return kinds[named.text]
        why = "unknown value" if named else "this key is missing"
        found = describe(named) if named else None
        likely = self._document.near(named.text, list(kinds)) if isinstance(named, Scalar) else None
        choice = Choice(tuple(kinds))
        self._document.refuse(
            (*path, "type"), why, node=named or node, found=found, allowed=allowed(choice), likely=likely
        )
        self._document.spoil(path)
        return None

    def _unknown(self, shape: Section, key: str, node: Scalar, path: KeyPath) -> None:
        known = list(shape.fields)
        likely = self._document.near(key, known)
        here = (*path, key)
        if key == "<<":
            self._document.refuse(here, "YAML 1.2 has no merge keys; repeat the keys", node=node)
            return
        listed = ", ".join(known) if not likely else None
        self._document.refuse(here, "unknown key", node=node, allowed=listed, likely=likely)
        if likely:
            self._document.spoil((*path, likely))

    def _wrong_kind(self, shape: Shape, options: tuple[Shape, ...], node: Node, path: KeyPath) -> None:
        """A list, mapping or scalar where another of them belongs. What it holds is not shown: it may be anything."""
        likely = self._meant(options[0], node) if isinstance(node, Scalar) else None
        found = describe(node, secret=True)
        self._document.refuse(path, "wrong type", node=node, found=found, allowed=allowed(shape), likely=likely)

    def _meant(self, shape: Shape, node: Scalar) -> str | None:
        """What a scalar in the place of a list or mapping was probably meant to be."""
        if node.kind == "null":
            return "[]" if isinstance(shape, Items) else "{}"
        if not isinstance(shape, Items) or not isinstance(shape.item, (Leaf, Choice)):
            return None
        if not node.plain or re.search(r"\$\{|@", node.text):
            return None
        try:
            self._scalars.read([shape.item], False, node)
        except Mismatch:
            return None
        return f"[{node.text}]"


def allowed(shape: Shape) -> str:
    """What a shape takes, to complete "allowed: …"."""
    if isinstance(shape, Leaf):
        return shape.unit.allowed
    if isinstance(shape, Choice):
        return _either([("true" if one else "false") if isinstance(one, bool) else str(one) for one in shape.values])
    if isinstance(shape, Nullable):
        return f"{allowed(shape.shape)}, or null"
    if isinstance(shape, Either):
        return _either(list(dict.fromkeys(allowed(option) for option in shape.options)))
    if isinstance(shape, Items):
        return f"a list, or {allowed(shape.item)}" if shape.one else "a list"
    return "a mapping"


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _values(shape: Shape) -> tuple[str, ...]:
    return tuple(str(value) for value in shape.values) if isinstance(shape, Choice) else ()


def filler(shape: Shape) -> Any:
    """Something of the right type."""
    if isinstance(shape, Nullable):
        return None
    if isinstance(shape, Either):
        return filler(shape.options[0])
    if isinstance(shape, Choice):
        return shape.values[0]
    if isinstance(shape, Items):
        return ()
    if isinstance(shape, Table):
        return MappingProxyType({})
    if isinstance(shape, Section):
        if shape.overrides:
            return MappingProxyType({})
        required = {field.name: filler(field.shape) for field in shape.fields.values() if field.default is MISSING}
        return shape.type(**required)
    if shape.path:
        return Path()
    text = _FILLERS.get(shape.unit.name)
    return shape.unit.bounds[0] if shape.unit.bounds else shape.unit.parse(text) if text else ""
