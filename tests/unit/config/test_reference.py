from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gateway.config.built import NOT_BUILT
from gateway.config.meanings import MEANINGS
from gateway.config.model import Config
from gateway.config.reference import not_built, with_tables
from gateway.config.shape import Either, Items, Nullable, Section, Shape, Table, shape_of

PAGE = Path(__file__).parents[3] / "docs/configuration.md"


def sections(shape: Shape) -> Iterator[Section]:
    if isinstance(shape, Section):
        yield shape
        for field in shape.fields.values():
            yield from sections(field.shape)
    elif isinstance(shape, Nullable):
        yield from sections(shape.shape)
    elif isinstance(shape, (Items, Table)):
        yield from sections(shape.item)
    elif isinstance(shape, Either):
        for option in shape.options:
            yield from sections(option)


ALL = {section.type: section for section in sections(shape_of(Config))}


def test_every_key_has_a_meaning_and_every_meaning_a_key():
    assert {kind: set(meanings) for kind, meanings in MEANINGS.items()} == {
        kind: set(section.fields) for kind, section in ALL.items()
    }


def test_the_page_is_what_is_generated():
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "make it anew: python -m gateway.config.reference docs/configuration.md"


def test_the_page_has_every_key():
    rows = re.findall(r"^\| `([a-z0-9_]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    for section in ALL.values():
        assert set(section.fields) <= set(rows)
    assert len(rows) >= sum(len(section.fields) for section in ALL.values())


def test_the_page_lists_what_is_not_built():
    table = not_built()
    assert table in PAGE.read_text(encoding="utf-8")
    assert table.count("\n") == len(NOT_BUILT) + 1
