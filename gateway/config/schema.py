"""The JSON Schema (draft 2020-12) of the configuration, made from the model, for editors and other tools.

    python -m gateway.config.schema > gateway/config/schema.json

It holds what one value tells by itself; what depends on several keys is the loader's alone. A number or flag may also
be a text with `${…}` in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from .built import row_of
from .mask import plain
from .meanings import MEANINGS
from .model import Config
from .shape import MISSING, Choice, Either, Field, Items, Leaf, Nullable, Section, Shape, Table, shape_of
from .units import Unit

Schema = dict[str, Any]
_SUBSTITUTED = "substituted"


def schema() -> Schema:
    """The schema as a JSON-able value."""
    return _Builder().whole()


class _Builder:
    """Collects one definition per section and unit."""

    def __init__(self) -> None:
        text = {"type": "string", "pattern": r"\$\{", "description": "A text with ${NAME} or ${file:PATH} in it."}
        self._definitions: dict[str, Schema] = {_SUBSTITUTED: text}

    def whole(self) -> Schema:
        shape = shape_of(Config)
        assert isinstance(shape, Section)  # noqa: S101 - what shape_of makes of a class
        root = self._object(shape, "", strict=False)
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Configuration of the gateway",
            **root,
            "required": ["version"],
            # with `include`, other files may hold these
            "if": {"not": {"required": ["include"]}},
            "then": {"required": [key for key, field in shape.fields.items() if field.required]},
            "$defs": dict(sorted(self._definitions.items())),
        }

    def _object(self, shape: Section, path: str, *, strict: bool) -> Schema:
        """strict: keys without a default are required."""
        described: Schema = {
            "type": "object",
            "properties": {key: self._field(shape, field, path) for key, field in shape.fields.items()},
            "additionalProperties": False,
        }
        required = [key for key, field in shape.fields.items() if field.default is MISSING]
        return {**described, "required": required} if required and strict else described

    def _field(self, section: Section, field: Field, path: str) -> Schema:
        here = f"{path}.{field.key}" if path else field.key
        meaning = MEANINGS[section.type][field.key]
        row = row_of(here)
        if row:
            meaning += f" Not built yet; works: {row.works}." if row.works else " Not built yet."
        described = {**self._shape(field.shape, here, field.default), "description": meaning}
        if field.default is not MISSING and not section.overrides and not isinstance(field.shape, Section):
            described["default"] = plain(field.shape, field.default)
        return described

    def _shape(self, shape: Shape, path: str, default: Any = None) -> Schema:
        if isinstance(shape, Nullable):
            return {"anyOf": [self._shape(shape.shape, path, default), {"type": "null"}]}
        if isinstance(shape, Either):
            return {"anyOf": [self._shape(option, path) for option in shape.options]}
        if isinstance(shape, Choice):
            return {"anyOf": [{"enum": list(shape.values)}, {"$ref": f"#/$defs/{_SUBSTITUTED}"}]}
        if isinstance(shape, Items):
            item = self._shape(shape.item, f"{path}.*" if not shape.one else path)
            items = {"type": "array", "items": item, **({"minItems": shape.least} if shape.least else {})}
            return {"anyOf": [items, item]} if shape.one else items
        if isinstance(shape, Table):
            described: Schema = {"type": "object", "additionalProperties": self._shape(shape.item, f"{path}.*")}
            return {**described, "propertyNames": {"pattern": shape.key.pattern}} if shape.key.pattern else described
        if isinstance(shape, Section):
            return self._section(shape, path, default)
        return self._leaf(shape)

    def _section(self, shape: Section, path: str, default: Any) -> Schema:
        name = shape.type.__name__ + ("Overrides" if shape.overrides else "")
        if name not in self._definitions:
            self._definitions[
                name
            ] = {}  # no section holds itself, but the order of definitions should be that of the file
            strict = not shape.overrides and not isinstance(default, shape.type)
            self._definitions[name] = self._object(shape, path, strict=strict)
        return {"$ref": f"#/$defs/{name}"}

    def _leaf(self, leaf: Leaf) -> Schema:
        unit = leaf.unit
        plain_text = unit.scalar == "text" and not unit.pattern
        described = _unit(unit)
        if plain_text:
            return described
        return {"anyOf": [described, {"$ref": f"#/$defs/{_SUBSTITUTED}"}]}


def _unit(unit: Unit) -> Schema:
    described: Schema = {
        "type": {"text": "string", "whole": "integer", "number": "number", "flag": "boolean"}[unit.scalar]
    }
    if unit.scalar in ("text", "number") and unit.name != "text":
        described["title"] = unit.allowed
    if unit.pattern:
        described["pattern"] = unit.pattern
    if unit.bounds:
        described["minimum"], described["maximum"] = unit.bounds
    return described


def text(described: Mapping[str, Any]) -> str:
    """A schema as the shipped file holds it."""
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(schema()))
