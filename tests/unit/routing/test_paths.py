import pytest

from gateway.errors import BadPath
from gateway.routing.paths import NO_FORMS, canonical, plain, readings


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("/%61dmin", "/admin"),
        ("/%41%7a%30%2D%5F%7e", "/Az0-_~"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%3fb%23c", "/a%3Fb%23c"),
        ("/a|b{c}", "/a%7Cb%7Bc%7D"),
        ("/.well-known/x", "/.well-known/x"),
        ("/..a/...", "/..a/..."),
        ("/a%2eb", "/a.b"),
    ],
)
def test_equivalent_spellings_have_one_form(raw, path):
    assert canonical(raw) == (path, NO_FORMS)


def test_an_escaped_percent_sign_stays_escaped():
    assert canonical("/%252e%252e/%25%32%65") == ("/%252e%252e/%252e", NO_FORMS)


@pytest.mark.parametrize(
    ("raw", "path", "forms"),
    [
        ("/a%2fb", "/a%2Fb", {"%2F"}),
        ("/a%5cb", "/a%5Cb", {"%5C"}),
        ("/a\\b", "/a%5Cb", {"%5C"}),
        ("/a//b", "/a//b", {"//"}),
        ("//", "//", {"//"}),
        ("/a;v=1/b", "/a;v=1/b", {";"}),
        ("//a%2F;\\", "//a%2F;%5C", {"%2F", "%5C", "//", ";"}),
    ],
)
def test_forms_that_a_route_has_to_allow_are_reported(raw, path, forms):
    assert canonical(raw) == (path, forms)
    assert not plain(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "/.", "/..", "/a/..", "/a/../b", "/./a", "/%2e", "/%2E%2e/a", "/.%2e/a", "/a/%2e/",
        "/a%2f..", "/a%2F..%2Fb", "/..%5cb", "/a\\..\\b", "/..;/b", "/..%3b/b", "/a/.;x=1", "/a%5C%2e%2e;/b",
    ],
)  # fmt: skip
def test_dot_segments_are_refused_in_every_spelling(raw):
    assert not plain(raw)
    with pytest.raises(BadPath, match="dot segment"):
        canonical(raw)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("", "begin with '/'"),
        ("a/b", "begin with '/'"),
        ("*", "begin with '/'"),
        ("/%zz", "'%zz'"),
        ("/%4", "'%4'"),
        ("/%", "'%'"),
        ("/%%41", "'%%4'"),
        ("/a%00b", "%00"),
        ("/a b", "' '"),
        ("/a\x00", r"'\x00'"),
        ("/a\r\nb", r"'\r'"),
        ("/\x7f", r"'\x7f'"),
        ("/\xe4", r"'\xe4'"),
        ("/a#b", "'#'"),
    ],
)
def test_what_is_no_path_is_refused_with_the_part_at_fault(raw, says):
    assert not plain(raw)
    with pytest.raises(BadPath) as refused:
        canonical(raw)
    assert says in refused.value.detail
    assert refused.value.status == 400


@pytest.mark.parametrize("raw", ["/", "/a", "/a/", "/a-b_c~d/e.f/1", "/!$&'()*+,=:@"])
def test_plain_paths_are_recognised_as_their_own_form(raw):
    assert plain(raw)
    assert canonical(raw) == (raw, NO_FORMS)


def test_every_combination_of_readings_is_told():
    assert readings("/a/b") == set()
    assert readings("/a%2Fb") == {"/a/b"}
    assert readings("/admin;x") == {"/admin"}
    assert readings("/a;x%2Fb//c") == {
        "/a/b//c", "/a/b/c", "/a;x/b//c", "/a;x/b/c", "/a//c", "/a/c", "/a;x%2Fb/c",
    }  # fmt: skip
    assert readings("/;a") == {"/"}
