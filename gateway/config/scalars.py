"""One scalar of the file to one value: substitution, then the YAML 1.2 kind, then the unit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .files import LARGEST_VALUE, Unreadable, decode, read_bytes
from .nodes import Scalar
from .quantities import UnitError
from .shape import Choice, Leaf
from .substitution import Expansion, SubstitutionError, expand

_FITTING = {"text": ("text",), "whole": ("whole",), "number": ("number", "whole"), "flag": ("flag",)}
_NULLS = ("null", "~")  # not the empty text: a variable that is empty by mistake must not switch a token off


class Mismatch(Exception):
    """A scalar is not what its key takes. The message does not hold it."""

    def __init__(self, why: str, likely: str | None = None) -> None:
        super().__init__(why)
        self.likely = likely


class Scalars:
    """Reads scalars of one configuration.

    folder: what paths are relative to. environment: for `${NAME}`. digest: fed with every file that `${file:…}` reads.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], digest: hashlib._Hash) -> None:
        self._folder = folder
        self._environment = environment
        self._digest = digest
        self._contents: dict[str, str] = {}

    def read(self, options: Sequence[Leaf | Choice], nullable: bool, node: Scalar) -> Any:
        """The value of a scalar that must be one of `options`. Mismatch says why it is none."""
        if "${" in node.text:
            return self._substituted(options, nullable, node.text)
        kind = node.kind
        if nullable and kind == "null":
            return None
        mismatches: list[Mismatch] = []
        for option in options:
            try:
                if isinstance(option, Choice):
                    return self._choose(option, node.text, kind)
                return self._leaf(option, node, kind)
            except Mismatch as error:
                mismatches.append(error)
        if len(mismatches) == 1:
            raise mismatches[0]
        raise Mismatch("wrong type", next((error.likely for error in mismatches if error.likely), None))

    def _leaf(self, leaf: Leaf, node: Scalar, kind: str) -> Any:
        fits = kind in _FITTING[leaf.unit.scalar]
        try:
            value = leaf.unit.parse(node.text)
        except UnitError as error:
            raise Mismatch(str(error) if fits else "wrong type", None if leaf.unit.secret else error.likely) from None
        if fits:
            return self._folder / value if leaf.path else value
        likely = f'"{node.text}"' if leaf.unit.scalar == "text" else node.text
        raise Mismatch("wrong type", None if leaf.unit.secret or kind == "null" else likely)

    def _choose(self, choice: Choice, text: str, kind: str) -> Any:
        for value in choice.values:
            if _spelled(value) == text:
                if kind == ("text" if isinstance(value, str) else "flag" if isinstance(value, bool) else "whole"):
                    return value
                raise Mismatch("wrong type", text if kind == "text" else f'"{text}"')
        known = [_spelled(value) for value in choice.values]
        near = get_close_matches(text.lower(), [one.lower() for one in known], n=1) if len(text) < 64 else []
        raise Mismatch("unknown value", next((one for one in known if near and one.lower() == near[0]), None))

    def _substituted(self, options: Sequence[Leaf | Choice], nullable: bool, written: str) -> Any:
        expansion = self.expand(written)
        if nullable and expansion.fallback and expansion.text in _NULLS:
            return None
        why = "wrong type"
        for option in options:
            if isinstance(option, Choice):
                for value in option.values:
                    if _spelled(value) == expansion.text:
                        return value
                continue
            try:
                value = option.unit.parse(expansion.text)
            except UnitError as error:
                why = str(error)
            else:
                return self._folder / value if option.path else value
        if nullable and expansion.text in _NULLS:
            return None
        raise Mismatch(f"what stands for it: {why if len(options) == 1 else 'wrong type'}")

    def expand(self, written: str) -> Expansion:
        """A text with its `${…}` put in. Mismatch says what is wrong."""
        try:
            expansion = expand(written, self._environment, self._file)
            expansion.text.encode()
        except SubstitutionError as error:
            raise Mismatch(str(error)) from None
        except UnicodeEncodeError:
            raise Mismatch("what stands for it: not UTF-8 text") from None
        return expansion

    def _file(self, path: str) -> str:
        if path not in self._contents:
            try:
                content = read_bytes(str(self._folder / path), LARGEST_VALUE)
                self._contents[path] = decode(content).strip()
            except Unreadable as error:
                raise SubstitutionError(f"the file cannot be used: {error}") from None
            self._digest.update(b"%d:%b" % (len(content), content))
        return self._contents[path]


def _spelled(value: str | int | bool) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
