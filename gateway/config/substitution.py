"""`${NAME}`, `${NAME:-default}` and `${file:PATH}` in texts, nested as deep as makes sense.

`:-` also stands in for a variable that is set but empty, as in a shell. A default may hold further `${…}`; so may the
path of a file. What was put in is not looked at again, so a value from outside cannot ask for other values. No message
holds what a `${…}` stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

DEEPEST = 8
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMS = "there are ${NAME}, ${NAME:-default} and ${file:PATH}"


class SubstitutionError(ValueError):
    """A `${…}` that is malformed, or stands for nothing."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """text: with everything put in. fallback: the whole of it is a default that the file itself writes out."""

    text: str
    fallback: bool = False


def expand(text: str, environment: Mapping[str, str], read_file: Callable[[str], str]) -> Expansion:
    """Put in all `${…}` of a text. SubstitutionError says what is wrong.

    read_file: the content of a file; it may raise SubstitutionError.
    """

    def value(pieces: list[_Piece]) -> str:
        return "".join(piece if isinstance(piece, str) else reference(piece) for piece in pieces)

    def reference(piece: _Variable | _File) -> str:
        if isinstance(piece, _File):
            return read_file(value(piece.path))
        found = environment.get(piece.name)
        if piece.default is not None:
            return found or value(piece.default)
        if found is None:
            raise SubstitutionError(
                f"the environment variable {piece.name} is not set; ${{{piece.name}:-…}} would give a default"
            )
        return found

    def written(pieces: list[_Piece]) -> bool:
        return all(
            isinstance(piece, str)
            or (isinstance(piece, _Variable) and not environment.get(piece.name) and written(piece.default or []))
            for piece in pieces
        )

    pieces = _Parser(text).pieces()
    return Expansion(value(pieces), fallback=written(pieces))


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    default: list[_Piece] | None


@dataclass(frozen=True, slots=True)
class _File:
    path: list[_Piece]


_Piece = str | _Variable | _File


class _Parser:
    """pieces = (text | "${" NAME [":-" pieces] "}" | "${file:" pieces "}")*, by recursive descent."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def pieces(self, depth: int = 0) -> list[_Piece]:
        """Up to the end of the text, or within a `${` up to its `}`."""
        stop = re.compile(r"\$\{|\}" if depth else r"\$\{")
        pieces: list[_Piece] = []
        while True:
            found = stop.search(self._text, self._at)
            if found is None and depth:
                raise SubstitutionError(f"${{ that no }} closes; {_FORMS}")
            end = found.start() if found else len(self._text)
            if end > self._at:
                pieces.append(self._text[self._at : end])
            if not found or found[0] == "}":
                self._at = end + 1
                return pieces
            self._at = end + 2
            pieces.append(self._reference(depth + 1))

    def _reference(self, depth: int) -> _Variable | _File:
        if depth > DEEPEST:
            raise SubstitutionError(f"${{…}} nested deeper than {DEEPEST} levels")
        if self._text.startswith("file:", self._at) and not self._text.startswith("file:-", self._at):
            self._at += 5
            path = self.pieces(depth)
            if not path:
                raise SubstitutionError(f"${{file:}} without a path; {_FORMS}")
            return _File(path)
        found = _NAME.match(self._text, self._at)
        if not found:
            raise SubstitutionError(f"${{ without the name of a variable; {_FORMS}")
        self._at = found.end()
        if self._text.startswith("}", self._at):
            self._at += 1
            return _Variable(found[0], None)
        if not self._text.startswith(":-", self._at):
            raise SubstitutionError(f"neither }} nor :- after the name of a variable; {_FORMS}")
        self._at += 2
        return _Variable(found[0], self.pieces(depth))
