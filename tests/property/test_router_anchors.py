"""What is told about a regex must hold for everything that it matches, or the index would lose routes."""

import re

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.routing.anchors import ways
from gateway.routing.index import RegexIndex
from gateway.routing.routes import compile_route

from ..unit.routing.support import route

ATOMS = [
    "/", "/", "/", "a", "b", "ab", "1", "[ab]", "[a-c1]", "[^/]", "[^a]", ".", r"\w", r"\d", r"[/a]", r"[!-0]", r"\W",
    r"\b", "^", "$", r"\.", "(?=a)", "(?!a)", "(?i:a)", r"\Z", r"[^\W]", "é",
]  # fmt: skip
QUANTIFIERS = ["", "", "", "", "?", "*", "+", "+?", "{2}", "{0,1}", "{1}", "++", "?+"]


@st.composite
def sources(draw, depth=2):
    pieces = []
    for _ in range(draw(st.integers(0, 5))):
        if depth and draw(st.integers(0, 3)) == 0:
            inner = "|".join(draw(st.lists(sources(depth=depth - 1), min_size=1, max_size=3)))
            atom = f"{draw(st.sampled_from(['(', '(?:', '(?>']))}{inner})"
        else:
            atom = draw(st.sampled_from(ATOMS))
        quantifier = "" if atom in ("^", "$", r"\b", r"\Z") else draw(st.sampled_from(QUANTIFIERS))
        pieces.append(atom + quantifier)
    return "".join(pieces)


def regexes():
    top = st.lists(sources(), min_size=1, max_size=2).map("|".join)
    return st.builds("".join, st.tuples(st.sampled_from(["", "", "^", "(?i)", "^/", "/a/"]), top))


def compiled(source):
    try:
        return re.compile(source)
    except re.error:  # such as a repeated empty group
        assume(False)
        raise AssertionError from None


paths = st.lists(st.sampled_from(["/", "/", "a", "b", "ab", "A", "1", ".", "c"]), max_size=8).map(
    lambda pieces: "/" + "".join(pieces)
)


def holds(key, path):
    position, text = key
    segments = path.split("/")
    return path.startswith(text) if position == 0 else position < len(segments) and segments[position] == text


@settings(deadline=None, max_examples=400)
@given(regexes(), st.lists(paths, min_size=1, max_size=20))
def test_what_a_regex_matches_has_a_key_of_each_way(source, some):
    regex = compiled(source)
    told = ways(regex)
    for path in some:
        if regex.match(path):
            assert all(any(holds(key, path) for key in keys) for keys in told), (path, told)


@settings(deadline=None, max_examples=200)
@given(st.lists(regexes(), min_size=1, max_size=8), st.lists(paths, min_size=1, max_size=10))
def test_the_index_finds_all_that_match_in_the_order_of_the_file(sources, some):
    for source in sources:
        compiled(source)
    entries = [compile_route(route("~" + source, id=str(place)), place) for place, source in enumerate(sources)]
    index = RegexIndex([(entry, entry.pattern.regex) for entry in entries])
    for path in some:
        found = list(index.candidates(path, path.split("/")))
        assert found == [entry for entry in entries if entry.pattern.regex.match(path)]
