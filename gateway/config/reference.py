"""The tables of docs/configuration.md, made from the model, its meanings and the table of what is not built.

    python -m gateway.config.reference docs/configuration.md

puts them between the page's markers, `<!-- NAME -->` and `<!-- end NAME -->`. A test holds page and model together.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .built import NOT_BUILT, row_of
from .mask import plain
from .meanings import MEANINGS
from .model import Config
from .shape import MISSING, Choice, Either, Field, Items, Leaf, Nullable, Section, Shape, Table, shape_of


def with_tables(page: str) -> str:
    """The page with what stands between its markers made anew."""
    for name, made in (("keys", keys()), ("not built", not_built())):
        begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        page = pattern.sub(f"{begin}\n\n{made}\n\n{end}".replace("\\", r"\\"), page)
    return page


def keys() -> str:
    """A table for each section, in the order of the file."""
    found = list(_sections(shape_of(Config), "", None, set()))
    places = {shape.type: path for shape, path, _ in found}
    return "\n\n".join(_table(shape, path, places, filled) for shape, path, filled in found)


def not_built() -> str:
    """A table of the keys that are refused so far."""
    lines = ["| key | works so far |", "|---|---|"]
    lines += [f"| `{_told(row.key)}` | {row.works or 'the default'} |" for row in NOT_BUILT]
    return "\n".join(lines)


def _sections(shape: Shape, path: str, default: Any, seen: set[type]) -> Iterator[tuple[Section, str, bool]]:
    """(section, path, whether its place has a default for all of it), each once, at the first place where it stands."""
    if isinstance(shape, Section):
        if shape.type not in seen and not shape.overrides:
            seen.add(shape.type)
            yield shape, path, isinstance(default, shape.type)
            for field in shape.fields.values():
                yield from _sections(field.shape, f"{path}.{field.key}" if path else field.key, field.default, seen)
    elif isinstance(shape, Nullable):
        yield from _sections(shape.shape, path, default, seen)
    elif isinstance(shape, (Items, Table)):
        yield from _sections(shape.item, f"{path}.*", None, seen)
    elif isinstance(shape, Either):
        for option in shape.options:
            yield from _sections(option, path, None, seen)


def _told(path: str) -> str:
    """A path for people: names of services and rules as <name>, places in lists as []."""
    return re.sub(r"^(services|rate_limits|cors)\.\*", r"\1.<name>", path).replace(".*", "[]")


def _table(shape: Section, path: str, places: Mapping[type, str], filled: bool) -> str:
    title = f"`{_told(path)}`" if path else "The file"
    kind = shape.fields.get("type")
    if kind and isinstance(kind.shape, Choice) and len(kind.shape.values) == 1:
        title += f" of type {kind.shape.values[0]}"
    lines = [f"### {title}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *(_row(shape, field, path, places, filled) for field in shape.fields.values())])


def _row(section: Section, field: Field, path: str, places: Mapping[type, str], filled: bool) -> str:
    row = row_of(f"{path}.{field.key}" if path else field.key)
    mark = "" if row is None else " *Partly built.*" if row.works else " *Not built yet.*"
    meaning = MEANINGS[section.type][field.key] + mark
    cells = (f"`{field.key}`", _type(field.shape, places), _default(field, filled), meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(shape: Shape, places: Mapping[type, str]) -> str:
    if isinstance(shape, Nullable):
        return f"{_type(shape.shape, places)}, null"
    if isinstance(shape, Either):
        return ", ".join(dict.fromkeys(_type(option, places) for option in shape.options))
    if isinstance(shape, Choice):
        return ", ".join(f"`{value}`" for value in shape.values)
    if isinstance(shape, Items):
        return f"list of {_type(shape.item, places)}" + (", or one" if shape.one else "")
    if isinstance(shape, Table):
        return f"mapping of {shape.key.name} to {_type(shape.item, places)}"
    if isinstance(shape, Leaf):
        if shape.unit.scalar == "flag":
            return "`true`, `false`"
        return shape.unit.allowed.removeprefix("a ") if shape.unit.bounds else shape.unit.name
    return f"keys of `{_told(places[shape.type])}`"


def _default(field: Field, filled: bool) -> str:
    if field.default is MISSING and filled:
        return "as above"
    if field.required:
        return "required"
    if isinstance(field.shape, Section):
        return ""
    return f"`{_yaml(plain(field.shape, field.default))}`"


def _yaml(value: Any) -> str:
    """A value in YAML's flow style; texts that need no quotes have none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9/][A-Za-z0-9 ./%_-]*", value):
        return value
    return json.dumps(value)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
