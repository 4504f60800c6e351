"""Which listener: by the socket, never by a header."""

import pytest

from gateway.config.addresses import parse_bind
from gateway.edge.planes import Planes

BINDS = {
    "external": ["0.0.0.0:8000", "unix:/run/gw/out.sock"],
    "internal": ["127.0.0.1:8001", "[::1]:8001", "unix:/run/gw/in.sock"],
}


def planes_of(binds):
    return Planes({plane: [parse_bind(text) for text in listed] for plane, listed in binds.items()})


class Accepted:
    def __init__(self, name):
        self.name = name

    def getsockname(self):
        if isinstance(self.name, Exception):
            raise self.name
        return self.name


@pytest.mark.parametrize(
    ("local", "plane"),
    [
        (("127.0.0.1", 8001), "internal"),
        (("::1", 8001, 0, 0), "internal"),
        (("::ffff:127.0.0.1", 8001, 0, 0), "internal"),
        (("10.0.0.5", 8001), "external"),  # nobody configured that one
        (("10.0.0.5", 8000), "external"),
        (("127.0.0.1", 9999), "external"),
        ("/run/gw/in.sock", "internal"),
        ("/run/gw/out.sock", "external"),
        ("/run/other.sock", "external"),
        (b"\0abstract", "external"),
        (OSError(), "external"),
    ],
)
def test_under_another_server_the_accepted_socket_tells(local, plane):
    assert planes_of(BINDS).of({"gunicorn.socket": Accepted(local)}) == plane


def test_a_wildcard_internal_bind_takes_every_address():
    planes = planes_of({"external": ["127.0.0.1:8000"], "internal": ["[::]:8001", "localhost:8002"]})
    assert planes.of({"gunicorn.socket": Accepted(("10.0.0.5", 8001))}) == "internal"
    assert planes.of({"gunicorn.socket": Accepted(("127.0.0.1", 8002))}) == "internal"
    assert planes.of({"gunicorn.socket": Accepted(("127.0.0.1", 8000))}) == "external"


@pytest.mark.parametrize(("told", "plane"), [("internal", "internal"), ("external", "external"), ("other", "external")])
def test_our_worker_says_so_itself(told, plane):
    assert planes_of(BINDS).of({"gateway.plane": told, "gunicorn.socket": Accepted(("127.0.0.1", 8001))}) == plane


def test_without_a_socket_it_is_external():
    assert planes_of(BINDS).of({"SERVER_PORT": "8001", "HTTP_HOST": "127.0.0.1:8001"}) == "external"
