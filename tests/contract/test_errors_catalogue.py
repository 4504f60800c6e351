"""docs/errors.md and the error tree say the same, and nobody refuses outside of the tree."""

import ast
import re
from pathlib import Path

import pytest

from gateway import errors

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))
TREE = ROOT / "gateway" / "errors.py"
ROW = re.compile(r"\| `(?P<reason>[a-z_]+)` \| (?P<status>[0-9]{3}) \| (?P<meaning>[^|]+) \| (?P<remedy>[^|]+) \|")


def _documented():
    lines = (ROOT / "docs" / "errors.md").read_text().splitlines()
    return [row for line in lines if (row := ROW.fullmatch(line))]


def _tree():
    """Every class of the tree by its name."""
    found = {}
    queue = [errors.Refusal]
    while queue:
        kind = queue.pop()
        found[kind.__name__] = kind
        queue.extend(kind.__subclasses__())
    return found


def _parsed():
    return [(path, ast.parse(path.read_text())) for path in SOURCES]


def _name(node):
    """The last part of a name or of an attribute, as in `errors.NoRoute`."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def _is_ours(node):
    """Whether an import is from gateway.errors, absolute or relative."""
    return node.module == "gateway.errors" or (node.level > 0 and node.module == "errors")


def test_every_reason_is_documented_with_its_status():
    documented = {row["reason"]: int(row["status"]) for row in _documented()}
    assert documented == {kind.reason: kind.status for kind in errors.catalogue()}


def test_no_reason_is_documented_twice():
    reasons = [row["reason"] for row in _documented()]
    assert len(reasons) == len(set(reasons))


@pytest.mark.parametrize("kind", list(_tree().values()), ids=lambda kind: kind.__name__)
def test_a_class_names_its_own_reason_title_and_remedy(kind):
    """A subclass that inherited one of them would tell another one's story."""
    if kind is errors.InternalError:
        return  # it is what Refusal says by default
    assert {"reason", "title"} <= vars(kind).keys()
    assert "remedy" in vars(kind)


def test_a_reason_has_one_status():
    statuses = {}
    for kind in _tree().values():
        assert statuses.setdefault(kind.reason, kind.status) == kind.status


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_refusal_is_made_outside_of_the_tree(path):
    if path == TREE:
        return
    tree = _tree()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            assert not {_name(base) for base in node.bases} & tree.keys(), f"{node.name} belongs into gateway/errors.py"


def test_every_refusal_that_is_raised_is_in_the_tree():
    """Whatever is imported from gateway.errors and raised is one of its classes, and none is the bare base."""
    tree = _tree()
    raised = set()
    for path, parsed in _parsed():
        imported = {
            alias.asname or alias.name: alias.name
            for node in ast.walk(parsed)
            if isinstance(node, ast.ImportFrom) and _is_ours(node)
            for alias in node.names
        }
        for node in ast.walk(parsed):
            if not isinstance(node, ast.Raise) or node.exc is None:
                continue
            name = _name(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
            if name in imported:
                assert imported[name] in tree, f"{path}: {name}"
                raised.add(imported[name])
    assert "Refusal" not in raised
    assert len(raised) > 10
