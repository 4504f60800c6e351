"""Request ids: valid, never the same twice, not even after a fork."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.edge.ids import VALID, RequestIds


def test_ids_are_128_bits_in_hexadecimal():
    assert VALID(RequestIds().make())
    assert len(bytes.fromhex(RequestIds().make())) == 16


def test_no_id_comes_twice_from_any_thread():
    ids = RequestIds()
    with ThreadPoolExecutor(8) as pool:
        made = [one for batch in pool.map(lambda _: [ids.make() for _ in range(1000)], range(8)) for one in batch]
    assert len(set(made)) == 8000


def test_a_forked_child_makes_others_than_its_parent():
    ids = RequestIds()
    ids.make()  # a batch is ready from here on
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, " ".join(ids.make() for _ in range(10)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = pipe.read().split()
    assert os.waitpid(child, 0)[1] == 0
    assert len(theirs) == 10
    assert not set(theirs) & {ids.make() for _ in range(500)}


@pytest.mark.parametrize("text", ["a", "A-b_c.9", "x" * 128])
def test_valid_ids_are_taken_over(text):
    assert VALID(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a\n", "a/b", "ä", 'a"', "a,b"])
def test_others_are_not(text):
    assert not VALID(text)
