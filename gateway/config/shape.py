"""The model's type hints as a tree of shapes: one description for reading, masking, JSON Schema and documentation.

`shape_of(Config)` is the whole file. A leaf is a `Unit` or a `Choice`; everything else says how leaves are grouped.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from .quantities import UnitError, parse_whole
from .units import CLASSES, Unit

T = TypeVar("T")
_Mark = Literal["one or many", "at least one"]
OneOrMany = Annotated[tuple[T, ...], "one or many"]  # a single value is accepted for a list of one
AtLeastOne = Annotated[tuple[T, ...], "at least one"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One scalar. `path`: it names a file, relative to the configuration's folder."""

    unit: Unit
    path: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few scalars."""

    values: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list. one: a single item is accepted for a list of one. least: the smallest number of items."""

    item: Shape
    one: bool = False
    least: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping from names that the user chooses."""

    key: Unit
    item: Shape


@dataclass(frozen=True, slots=True)
class Nullable:
    """null, or what `shape` says."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Either:
    """Any of several shapes, told apart by what is found; sections among them by their key `type`."""

    options: tuple[Shape, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A mapping with a fixed set of keys, read into `type`. overrides: into a mapping of the keys that are given."""

    type: type
    fields: Mapping[str, Field]
    overrides: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """key: as the file spells it. name: the attribute. default: of the model, `MISSING` when there is none."""

    key: str
    name: str
    shape: Shape
    default: Any
    required: bool


MISSING: Any = dataclasses.MISSING
Shape = Leaf | Choice | Items | Table | Nullable | Either | Section


def _flag(text: str) -> bool:
    """YAML 1.2 core schema: true and false in three spellings each."""
    if text not in ("true", "True", "TRUE", "false", "False", "FALSE"):
        likely = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(text.lower())  # YAML 1.1 had these
        raise UnitError("neither true nor false", likely=likely)
    return text.lower() == "true"


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise UnitError("empty, or with a NUL")
    return text


TEXT = Unit("text", "a text", str)
FLAG = Unit("flag", "true or false", _flag, lambda flag: "true" if flag else "false", scalar="flag")
PATH = Unit("path", "the path of a file, relative to the folder of the configuration file", _path)
WHOLE = Unit("whole number", "a whole number", parse_whole, scalar="whole")
_PLAIN: dict[Any, Shape] = {str: Leaf(TEXT), bool: Leaf(FLAG), int: Leaf(WHOLE), Path: Leaf(PATH, path=True)}


@cache  # of the model's classes, which are constant
def shape_of(hint: Any) -> Shape:
    """The shape of a type hint of the model. TypeError for a hint that the configuration cannot hold."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint in CLASSES:
        return Leaf(CLASSES[hint])
    if dataclasses.is_dataclass(hint):
        return Section(typing.cast(type, hint), _fields(typing.cast(type, hint)))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _annotated(*arguments)
    if origin is Literal:
        return Choice(arguments)
    if origin is tuple:
        return Items(shape_of(arguments[0]))
    if origin is Mapping:
        key = shape_of(arguments[0])
        return Table(key.unit if isinstance(key, Leaf) else TEXT, shape_of(arguments[1]))
    if origin in (Union, types.UnionType):
        return _union(arguments)
    raise TypeError(f"the configuration cannot hold {hint!r}")


def _annotated(hint: Any, mark: Unit | _Mark) -> Shape:
    if isinstance(mark, Unit):
        return Leaf(mark)
    return Items(shape_of(typing.get_args(hint)[0]), one=mark == "one or many", least=int(mark == "at least one"))


def _union(arguments: tuple[Any, ...]) -> Shape:
    options = tuple(shape_of(argument) for argument in arguments if argument is not type(None))
    shape = options[0] if len(options) == 1 else Either(options)
    return shape if len(options) == len(arguments) else Nullable(shape)


def _fields(section: type) -> dict[str, Field]:
    hints = typing.get_type_hints(section, include_extras=True)
    fields = {}
    for field in dataclasses.fields(section):
        if field.metadata.get("key", True):
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            required = default is MISSING or field.metadata.get("required", False)
            overrides = field.metadata.get("overrides")
            shape = Nullable(Section(overrides, _fields(overrides), True)) if overrides else shape_of(hints[field.name])
            key = field.name.rstrip("_")
            fields[key] = Field(key, field.name, shape, default, required)
    return fields
