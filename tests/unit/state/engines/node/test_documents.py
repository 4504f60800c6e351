from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.clock import FakeClock
from gateway.errors import StoreFull
from gateway.state.engines.node import NodeEngine
from gateway.state.engines.node.segment import BEGUN, ENDED


@pytest.mark.parametrize("longest", [200, 700, 1900, 9000])
def test_documents_that_come_and_go_never_fill_the_map_itself(tmp_path: Path, longest: int) -> None:
    """The budget ends before the map does, whatever the pages look like, so a delete always finds room."""
    engine = NodeEngine(tmp_path, 1024**2, FakeClock())
    documents = engine._documents
    rnd, keys = random.Random(longest), []
    for _ in range(3):
        refused = 0
        while refused < 5:
            key = f"r/{rnd.randrange(10**9)}"
            try:
                documents.put(key, rnd.randbytes(rnd.randrange(longest // 2, longest)), None)
                keys.append(key)
            except StoreFull as error:
                assert "fill their" in str(error)
                refused += 1
        rnd.shuffle(keys)
        for key in keys[len(keys) // 4 :]:
            assert documents.delete(key)
        del keys[len(keys) // 4 :]
    for key in keys:
        assert documents.delete(key)
    assert documents.scan("") == []
    engine.close()


def test_expired_documents_are_removed_now_and_then(tmp_path: Path) -> None:
    clock = FakeClock()
    engine = NodeEngine(tmp_path, 1024**2, clock)
    documents = engine._documents
    for number in range(20):
        documents.put(f"r/{number}", b"1", 5)
    clock.advance(60)
    documents.put("r/new", b"1", None)
    with documents._transaction(write=False) as txn:
        assert txn.stat(documents._documents)["entries"] == 1
    engine.close()


def test_a_version_that_did_not_change_is_told_without_asking_lmdb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LMDB's calls give up the GIL; a look at the version is on every request's way."""
    engine = NodeEngine(tmp_path, 1024**2, FakeClock())
    engine.put("r/a", b"1", None)
    version = engine.version("r")
    environment = engine._documents._env
    monkeypatch.setattr(engine._documents, "_env", None)
    assert engine.version("r") == version
    monkeypatch.setattr(engine._documents, "_env", environment)
    engine.put("r/b", b"1", None)
    assert engine.version("r") != version
    engine.close()


def test_while_somebody_writes_or_died_writing_the_version_is_lmdbs_own(tmp_path: Path) -> None:
    engine = NodeEngine(tmp_path, 1024**2, FakeClock())
    engine.put("r/a", b"1", None)
    segment = engine._documents._words
    version = engine.version("r")
    engine._documents._notices.give(BEGUN)  # a writer begins
    assert segment[BEGUN] != segment[ENDED]
    assert engine.version("r") == version
    with engine._documents._env.begin(write=True) as txn:  # commits, and is killed
        engine._documents._note(txn, b"version/r", txn.id())
    assert engine.version("r") != version
    engine.put("r/a", b"2", None)  # the next one sets it right
    assert segment[BEGUN] == segment[ENDED]
    engine.close()
