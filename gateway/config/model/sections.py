"""How a section of the file becomes a frozen dataclass, and what a field tells of its key beside type and default."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


def mapping(**metadata: bool) -> Any:
    """A dataclass field whose default is an empty read-only mapping."""
    return field(default_factory=lambda: MappingProxyType({}), metadata=metadata)


def required(default: Any) -> Any:
    """A field that must be in the file; the default is for code."""
    return field(default=default, metadata={"required": True})


def overrides(section: type) -> Any:
    """A field that holds the keys of `section` that are given; None when none is."""
    return field(default=None, metadata={"overrides": section})


def not_a_key(default: Any) -> Any:
    return field(default=default, compare=False, metadata={"key": False})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def section(cls: type[T]) -> type[T]:
    """A mapping of the file with a fixed set of keys: a frozen dataclass with slots, compared and shown by its fields.

    There are fifty of them, and every start pays for what is generated: so comparison and repr are shared, and each has
    a docstring, without which dataclasses would work out a signature for one.
    """
    cls.__doc__ = cls.__doc__ or cls.__name__
    for name, method in (("__eq__", _equal), ("__hash__", _hashed), ("__repr__", _shown)):
        setattr(cls, name, method)
    return dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)(cls)


def _equal(self: Any, other: object) -> Any:
    if self.__class__ is not other.__class__:
        return NotImplemented
    return _compared(self) == _compared(other)


def _hashed(self: Any) -> int:
    return hash(_compared(self))


def _shown(self: Any) -> str:
    values = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self))
    return f"{self.__class__.__name__}({values})"


def _compared(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, one.name) for one in fields(self) if one.compare)
