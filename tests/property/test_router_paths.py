"""Canonical paths: one form for equivalent spellings, itself canonical, and never with a dot segment in any reading."""

from urllib.parse import unquote

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadPath
from gateway.routing.paths import canonical, forms, plain, readings

PIECES = [
    "/",
    "/",
    "a",
    "%61",
    "A",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    ";",
    "%3b",
    "%25",
    "%c3%a9",
    "|",
    "2e",
    "~",
]
UNRESERVED = "abcXYZ019-._~"

paths = st.lists(st.sampled_from(PIECES), max_size=10).map(lambda pieces: "/" + "".join(pieces))
anything = st.text(st.characters(max_codepoint=255), max_size=20).map(lambda text: "/" + text)


def read(raw):
    try:
        return canonical(raw)
    except BadPath:
        return None


@settings(deadline=None, max_examples=500)
@given(paths | anything)
def test_the_canonical_form_is_its_own(raw):
    found = read(raw)
    if found:
        assert canonical(found[0]) == found
        assert found[0].isascii()
        assert found[0].isprintable()


@settings(deadline=None, max_examples=500)
@given(paths)
def test_no_reading_has_a_dot_segment(raw):
    found = read(raw)
    if not found:
        return
    for reading in {found[0], raw} | readings(found[0]):
        for decoded in (reading, unquote(reading)):
            for segment in decoded.replace("\\", "/").split("/"):
                assert segment.partition(";")[0] not in (".", "..")


@settings(deadline=None, max_examples=300)
@given(paths)
def test_segments_stay_where_they_are(raw):
    found = read(raw)
    if found:
        assert found[0].count("/") == raw.count("/")
        assert forms(found[0]) == found[1]
        assert all(unquote(reading).count("%2F") == 0 for reading in readings(found[0]))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_equivalent_encodings_are_equal(data):
    text = data.draw(st.lists(st.text(UNRESERVED, min_size=1, max_size=4), min_size=1, max_size=4))

    def spelled():
        return "".join(
            "/" + "".join(data.draw(st.sampled_from([one, f"%{ord(one):02x}", f"%{ord(one):02X}"])) for one in segment)
            for segment in text
        )

    assert read(spelled()) == read(spelled()) == read("/" + "/".join(text))


@settings(deadline=None, max_examples=500)
@given(paths | anything | st.just(""))
def test_the_fast_path_takes_only_what_the_slow_one_leaves_as_it_is(raw):
    if plain(raw):
        assert canonical(raw) == (raw, frozenset())
