"""What is wrong with a configuration: each problem with its place, all of them in one exception."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake. No field ever holds a secret or what a `${…}` stands for.

    file: as given to `load`, or beside it for an included one. line, column: from 1.
    path: the key, `services.echo.instances[0].weight`; empty for the file as a whole.
    why: what is wrong, a phrase. found: what stands there, as written. allowed: what may stand there.
    likely: what was probably meant.
    """

    file: str
    line: int = 1
    column: int = 1
    path: str = ""
    why: str = ""
    found: str | None = None
    allowed: str | None = None
    likely: str | None = None

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def message(self) -> str:
        """One sentence without the place and the key."""
        parts = [self.why]
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        text = "; ".join(part for part in parts if part)
        return f"{text} (did you mean {self.likely}?)" if self.likely else text

    def __str__(self) -> str:
        return f"{self.place}: {self.path}: {self.message}" if self.path else f"{self.place}: {self.message}"


class ConfigErrors(Exception):
    """A configuration that cannot be used: every problem found, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems)

    def __len__(self) -> int:
        return len(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def render_path(path: Iterable[str | int]) -> str:
    """`services.echo.instances[0].weight`. Names that hold a dot or stranger characters stand in brackets."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif _PLAIN_KEY.fullmatch(key):
            text += f".{key}" if text else key
        else:
            text += f'["{shown_key(key)}"]'
    return text


def shown_key(key: str) -> str:
    """A key for an error message: cut where it stops to look like a name.

    `token:hunter2`, where only the space is missing, is a key to YAML, and must not be repeated.
    """
    name = re.match(r"[A-Za-z0-9_./{}*-]{0,128}", key)
    kept = name[0] if name else ""
    return kept if kept == key else f"{kept}…"


def shown_text(text: str) -> str:
    """A text for an error message: quoted, on one line, short, and without what may be a URL's password."""
    if "@" in text:
        text = f"***{text[text.rindex('@') :]}"
    if len(text) > 60:
        text = f"{text[:57]}..."
    return '"' + "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text) + '"'
