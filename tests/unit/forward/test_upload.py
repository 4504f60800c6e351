"""A client's body on its way up."""

from __future__ import annotations

import io

import pytest

from gateway.clock import FakeClock
from gateway.errors import BodyTooLarge, ClientGone, ClientTimeout, Malformed
from gateway.forward.upload import KEPT, PIECE, Upload


class Client:
    """wsgi.input that plays back; an exception is raised, a number is a pause."""

    def __init__(self, *steps, clock=None):
        self.steps = list(steps)
        self.clock = clock
        self.sizes = []

    def read1(self, size):
        self.sizes.append(size)
        while self.steps and isinstance(self.steps[0], float):
            self.clock.advance(self.steps.pop(0))
        step = self.steps.pop(0) if self.steps else b""
        if isinstance(step, Exception):
            raise step
        return step

    read = None


def drain(upload):
    return b"".join(iter(upload.piece, b""))


def test_a_body_is_read_in_pieces_of_what_is_there():
    client = Client(b"he", b"llo")
    upload = Upload(client, 5)
    assert [upload.piece(), upload.piece(), upload.piece()] == [b"he", b"llo", b""]
    assert client.sizes == [5, 3]
    assert upload.received == 5


def test_a_server_without_read1_is_read_with_read():
    upload = Upload(io.BytesIO(b"x" * (PIECE + 1)), PIECE + 1)
    assert [len(upload.piece()), len(upload.piece()), upload.piece()] == [PIECE, 1, b""]


def test_a_chunked_body_ends_when_the_client_says_so():
    client = Client(b"he", b"llo", b"")
    assert drain(Upload(client, None)) == b"hello"
    assert client.sizes == [PIECE] * 3


def test_waiting_for_the_client_is_measured():
    clock = FakeClock()
    upload = Upload(Client(2.0, b"he", 0.5, b"llo", clock=clock), 5, clock.monotonic)
    clock.advance(10)
    drain(upload)
    assert upload.waited == pytest.approx(2.5)


@pytest.mark.parametrize("kind", [ClientGone, ClientTimeout, BodyTooLarge])
def test_what_the_client_did_is_raised_and_raised_again(kind):
    upload = Upload(Client(b"he", kind()), 5)
    assert upload.piece() == b"he"
    for _ in range(2):
        with pytest.raises(kind):
            upload.piece()
    assert upload.rewind()
    assert upload.piece() == b"he"
    with pytest.raises(kind):
        upload.piece()


@pytest.mark.parametrize(
    "step, kind", [(b"", ClientGone), (ConnectionResetError(), ClientGone), (EOFError("bad chunk"), Malformed)]
)
def test_other_servers_ways_to_tell_a_broken_body_are_understood(step, kind):
    upload = Upload(Client(b"1234567", step, b"x" * 43), 50)
    assert upload.piece() == b"1234567"
    with pytest.raises(kind):
        upload.piece()
    with pytest.raises(kind):
        upload.piece()


def test_a_short_body_can_be_sent_again():
    upload = Upload(Client(b"he", b"llo"), None)
    assert upload.piece() == b"he"
    assert upload.rewind()
    assert [upload.piece(), upload.piece(), upload.piece()] == [b"he", b"llo", b""]
    assert upload.rewind()
    assert drain(upload) == b"hello"
    assert upload.received == 5


def test_a_long_body_is_not_kept():
    upload = Upload(Client(b"x" * KEPT, b"y", b"z"), None)
    upload.piece()
    assert upload.replayable
    upload.piece()
    assert not upload.replayable
    assert not upload.rewind()
    assert drain(upload) == b"z"


def test_a_small_body_that_is_there_comes_whole_each_time():
    upload = Upload(Client(b"hello"), 5)
    assert upload.small() == b"hello"
    assert upload.small() == b"hello"
    assert Upload(Client(), 0).small() == b""


def test_a_small_body_that_is_still_coming_is_not_waited_for():
    client = Client(b"he", b"llo")
    upload = Upload(client, 5)
    assert upload.small() is None
    assert client.steps == [b"llo"]
    assert [upload.piece(), upload.piece(), upload.piece()] == [b"he", b"llo", b""]
    assert upload.small() == b"hello"  # kept, for another try


def test_no_other_body_is_read_for_that():
    for length in (None, KEPT + 1):
        client = Client(b"hello")
        assert Upload(client, length).small() is None
        assert client.sizes == []


def test_a_small_body_that_breaks_off_is_never_whole():
    upload = Upload(io.BytesIO(b"1234567"), 50)
    for _ in range(2):
        assert upload.small() is None
        assert upload.piece() == b"1234567"
        with pytest.raises(ClientGone, match="43 bytes"):
            upload.piece()


class Waiting(Client):
    """A client that also tells what came first."""

    def wait(self, other):
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        self.clock.advance(step)
        return other < 0


def test_what_comes_first_is_told_and_the_wait_is_measured():
    clock = FakeClock()
    upload = Upload(Waiting(2.0, 1.0, b"hello", clock=clock), 5, clock.monotonic)
    assert not upload.comes(7)
    assert upload.comes(-1)
    assert upload.waited == pytest.approx(3.0)


def test_nobody_waits_for_what_is_there_or_will_not_come():
    upload = Upload(Waiting(b"he", b"llo", clock=FakeClock()), 5)
    upload.piece()
    upload.rewind()
    assert upload.comes(7)  # kept
    drain(upload)
    assert upload.comes(7)  # at the end
    assert Upload(Client(), 5).comes(7)  # a server that cannot tell


def test_a_client_that_is_given_up_while_it_is_waited_for_stays_given_up():
    upload = Upload(Waiting(ClientTimeout(), clock=FakeClock()), 5)
    with pytest.raises(ClientTimeout):
        upload.comes(7)
    with pytest.raises(ClientTimeout):
        upload.piece()
