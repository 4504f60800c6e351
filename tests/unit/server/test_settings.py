from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config as GunicornConfig

from gateway.config.model import Config, HeaderLimits, Listener, Listeners, Logging, Server
from gateway.server import pinning, settings

PATH = Path("/etc/gateway.yaml")


def config(**server: Any) -> Config:
    listeners = Listeners(external=Listener(bind=("0.0.0.0:80", "unix:/run/a")), internal=Listener(bind=("[::1]:81",)))
    return Config(listeners=listeners, server=Server(**server))


def loaded(ours: dict[str, Any], **command_line: Any) -> Any:
    """gunicorn's configuration as it is after its file and its command line."""
    cfg = GunicornConfig()
    for name, value in {**ours, **command_line}.items():
        cfg.set(name, value)
    return cfg


def test_the_path_is_the_environments_or_the_default_and_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    assert settings.config_path({"GATEWAY_CONFIG": "x.yaml"}) == tmp_path / "x.yaml"
    assert settings.config_path({"GATEWAY_CONFIG": ""}) == tmp_path / "conf" / "gateway.yaml"
    assert settings.config_path({}) == tmp_path / "conf" / "gateway.yaml"


def test_gunicorn_accepts_every_setting():
    cfg = loaded(settings.of(config(workers=3, threads=8, internal_threads=2, keepalive=1.5)))
    assert cfg.address == [("0.0.0.0", 80), "/run/a", ("::1", 81)]
    assert (cfg.workers, cfg.threads, cfg.keepalive) == (3, 10, 2)
    assert cfg.worker_class.__name__ == "GatewayWorker"
    assert cfg.forwarded_allow_ips == []
    assert cfg.forwarder_headers == []
    assert cfg.secure_scheme_headers == {}
    assert cfg.control_socket_disable is True
    assert loaded(settings.of(config(), stock=True)).worker_class.__name__ == "ThreadWorker"


def test_without_a_number_there_is_a_worker_for_each_usable_cpu():
    assert settings.of(config())["workers"] == len(pinning.usable_cpus())


def test_limits_beyond_what_gunicorns_parser_takes_are_cut():
    limits = settings.of(config(max_request_line=64 * 1024, max_request_headers=HeaderLimits(count=7, size=99)))
    cfg = loaded(limits)
    assert (cfg.limit_request_line, cfg.limit_request_fields, cfg.limit_request_field_size) == (8190, 7, 99)


def test_nothing_is_overridden_when_the_command_line_says_nothing():
    ours = settings.of(config())
    assert settings.overridden(loaded(ours), ours) == {}
    assert settings.conflicts(loaded(ours), ours, PATH) == []


def test_saying_the_same_again_is_no_conflict():
    ours = settings.of(config())
    cfg = loaded(ours, bind=list(ours["bind"]), threads=ours["threads"])
    assert settings.conflicts(cfg, ours, PATH) == []


def test_a_bind_that_the_file_has_not_is_named():
    ours = settings.of(config())
    (sentence,) = settings.conflicts(loaded(ours, bind=["0.0.0.0:80", "127.0.0.1:9"]), ours, PATH)
    assert sentence.startswith("--bind 127.0.0.1:9: the gateway binds exactly what listeners.external.bind")
    assert str(PATH) in sentence


def test_every_conflict_is_told_but_workers_are_free():
    ours = settings.of(config())
    cfg = loaded(ours, workers=7, threads=1, user="nobody", preload_app=False)
    told = settings.conflicts(cfg, ours, PATH)
    assert [sentence.split()[0] for sentence in told] == ["--threads", "--preload", "--user"]
    assert settings.overridden(cfg, ours)["workers"] == 7


def test_a_reload_brings_new_values_into_a_copy():
    before = loaded(settings.of(config(workers=1, threads=4)))
    after = settings.tailor(before, replace(config(workers=2, threads=6), logging=Logging(level="debug")), keep={})
    assert (before.workers, before.threads, before.loglevel) == (1, 20, "info")
    assert (after.workers, after.threads, after.loglevel) == (2, 22, "debug")


def test_a_reload_keeps_hooks_and_what_the_command_line_decided():
    def hook(server: Any) -> None: ...

    before = loaded(settings.of(config(workers=1)), workers=5, on_exit=hook)
    after = settings.tailor(before, config(workers=2), keep={"workers": 5})
    assert after.workers == 5
    assert after.on_exit is hook


def test_a_reload_never_touches_sockets():
    before = loaded(settings.of(config()))
    changed = replace(config(), listeners=Listeners(external=Listener(bind=("0.0.0.0:9",)), internal=None))
    assert settings.tailor(before, changed, keep={}).address == before.address


def test_gunicorns_worker_is_taken_when_asked_for():
    assert not settings.stock_worker({})
    assert settings.stock_worker({"GATEWAY_WORKER": "gthread"})
