"""The files that `include` names, read and joined into the document.

Lists are joined end to end, in the order of the files; sections key by key. What two files define is an error that
names both places. Only the main file includes; each file is read once.
"""

from __future__ import annotations

import glob
import hashlib
import os
from pathlib import Path

from .compose import Composer, Refused
from .document import Document
from .files import LARGEST, Unreadable, decode, read_bytes
from .nodes import Items, Node, Scalar, Table, describe
from .problems import KeyPath, Problem

MOST_FILES = 1000


def read_file(document: Document, file: int, path: Path, digest: hashlib._Hash) -> Table | None:
    """The mapping that a file holds; None when it has none, and the document knows why."""
    name = document.files[file]
    try:
        content = read_bytes(str(path), LARGEST)
        digest.update(b"%d:%b" % (len(content), content))
        text = decode(content)
    except Unreadable as error:
        why = f"the file cannot be used: {error}"
        document.problems.append(Problem(file=name, line=error.line, column=error.column, why=why))
        return None
    composer = Composer(name, file)
    try:
        root = composer.compose(text)
    except Refused as refused:
        document.problems += [*composer.problems, refused.problem]
        return None
    document.problems += composer.problems
    if isinstance(root, Table):
        return root
    why = "the file is empty" if root is None or root.kind == "null" else "the file is no mapping of keys to values"
    line, column = (root.line, root.column) if root else (1, 1)
    found = describe(root, secret=True) if root and root.kind != "null" else None
    document.problems.append(Problem(file=name, line=line, column=column, why=why, found=found))
    return None


def join_included(document: Document, patterns: tuple[str, ...], main: Path, digest: hashlib._Hash) -> None:
    """Read the files that match and join them into the document's root."""
    for path in _matching(document, patterns, main):
        document.files.append(os.path.join(os.path.dirname(document.files[0]), path))
        table = read_file(document, len(document.files) - 1, main.parent / path, digest)
        if table:
            _join_root(document, table)


def _matching(document: Document, patterns: tuple[str, ...], main: Path) -> list[str]:
    """The files, relative to the main file's folder: patterns in order, files of a pattern by name, each once."""
    seen = {os.path.realpath(main)}
    paths: list[str] = []
    for number, pattern in enumerate(patterns):
        try:
            found = sorted(glob.glob(pattern, root_dir=main.parent))
        except (OSError, ValueError):  # a NUL, for one
            found = []
        if not found and not glob.has_magic(pattern):
            document.refuse(("include", number), "there is no such file", found=document.found("include", number))
        for path in found:
            real = os.path.realpath(main.parent / path)
            if real not in seen and len(paths) < MOST_FILES:
                paths.append(path)
            elif real not in seen:
                document.refuse(("include", number), f"more than {MOST_FILES} files")
                return paths
            seen.add(real)
    return paths


def _join_root(document: Document, table: Table) -> None:
    for key, (key_node, value) in table.entries.items():
        if key == "include":
            document.refuse((key,), "only the main file includes others", node=key_node)
        elif key == "version":
            if not isinstance(value, Scalar) or value.text != "1":
                document.refuse((key,), "wrong version", node=value, found=describe(value), allowed="1")
        elif key not in document.root.entries:
            document.root.entries[key] = (key_node, value)
        else:
            _join(document, document.root.entries[key][1], value, key_node, (key,))


def _join(document: Document, first: Node, second: Node, second_key: Scalar, path: KeyPath) -> None:
    if isinstance(first, Items) and isinstance(second, Items):
        first.numbers = [*(first.numbers or range(len(first.items))), *range(len(second.items))]
        first.items += second.items
    elif isinstance(first, Table) and isinstance(second, Table) and len(path) == 1:
        for key, (key_node, value) in second.entries.items():
            there = first.entries.get(key)
            if there:
                _twice(document, there[0], key_node, (*path, key))
            else:
                first.entries[key] = (key_node, value)
    else:
        _twice(document, first, second_key, path)


def _twice(document: Document, first: Node, second: Node, path: KeyPath) -> None:
    why = f"defined twice; the first is in {document.files[first.file]}:{first.line}"
    document.refuse(path, why, node=second)
