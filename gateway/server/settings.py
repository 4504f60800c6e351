"""gunicorn's settings as the gateway's configuration decides them, and what of gunicorn's command line is left.

One file decides: what it decides cannot be said again, and differently, on gunicorn's command line. Free are the number
of workers (-w, which then also outlives reloads) and what the configuration does not know: --pid, --daemon, --chdir, …
"""

from __future__ import annotations

import copy
import math
import os
import select
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.config.model import Config
from gateway.server import pinning
from gateway.server.listeners import binds
from gateway.server.logger import Logger

DEFAULT_PATH: Final = "conf/gateway.yaml"
HEARTBEAT: Final = 30  # seconds without a sign of life from a worker's main loop, after which it is killed
_FREE: Final = frozenset({"workers", "proc_name", "worker_tmp_dir"})
_ON_RELOAD: Final = frozenset(
    {"workers", "threads", "keepalive", "graceful_timeout", "loglevel"}
    | {"limit_request_line", "limit_request_fields", "limit_request_field_size"}
)
_SAID_BY: Final = {
    "bind": "listeners.external.bind and listeners.internal.bind",
    "threads": "server.threads",
    "keepalive": "server.keepalive",
    "graceful_timeout": "server.graceful_timeout",
    "loglevel": "logging.level",
    "limit_request_line": "server.max_request_line",
    "limit_request_fields": "server.max_request_headers",
    "limit_request_field_size": "server.max_request_headers",
    "forwarded_allow_ips": "server.trusted_proxies",
    "certfile": "listeners.external.tls",
    "keyfile": "listeners.external.tls",
}


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The configuration file: GATEWAY_CONFIG, or conf/gateway.yaml in the working directory. Absolute."""
    return Path(environ.get("GATEWAY_CONFIG") or DEFAULT_PATH).absolute()


def stock_worker(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether gunicorn's own threaded worker serves: there is no epoll, or GATEWAY_WORKER=gthread asks for it."""
    return not hasattr(select, "epoll") or environ.get("GATEWAY_WORKER") == "gthread"


def of(config: Config, *, stock: bool = False) -> dict[str, Any]:
    """gunicorn's settings by name. stock: for gunicorn's threaded worker."""
    server = config.server
    return {
        "bind": [bind for _, bind in binds(config)],
        "workers": server.workers or len(pinning.usable_cpus()),
        "worker_class": "gthread" if stock else "gateway.server.worker.GatewayWorker",
        "threads": server.threads + server.internal_threads,
        "keepalive": math.ceil(server.keepalive),
        # Our worker ends at its own limit and then has a second to say so before it is killed.
        "graceful_timeout": math.ceil(server.graceful_timeout) + (0 if stock else 1),
        "timeout": HEARTBEAT,
        "limit_request_line": min(server.max_request_line, 8190),  # the most that gunicorn's parser takes
        "limit_request_fields": server.max_request_headers.count,
        "limit_request_field_size": server.max_request_headers.size,
        "loglevel": config.logging.level,
        "logger_class": Logger,
        "errorlog": "-",
        "accesslog": None,
        "proc_name": "gateway",
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None,  # noqa: S108
        "preload_app": True,
        "reload": False,
        "reuse_port": False,
        "control_socket_disable": True,
        "http_parser": "python",
        # Who may say what about the client is server.trusted_proxies' business alone.
        "forwarder_headers": "",
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "proxy_protocol": False,
        # TLS is the worker's: gunicorn would speak it on both listeners.
        "certfile": None,
        "keyfile": None,
        # The state folder belongs to the user that the master runs as.
        "user": None,
        "group": None,
    }


def overridden(cfg: Any, ours: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line or GUNICORN_CMD_ARGS set otherwise than `ours`: name to the value in force."""
    reference = type(cfg)()
    for name, value in ours.items():
        reference.set(name, value)
    found = {}
    for name in ours:
        value = cfg.settings[name].get()
        if value != reference.settings[name].get():
            found[name] = value
    return found


def conflicts(cfg: Any, ours: Mapping[str, Any], path: Path) -> list[str]:
    """A sentence for each setting that the command line must leave to the configuration."""
    sentences = []
    for name, value in overridden(cfg, ours).items():
        if name in _FREE:
            continue
        option = next((text for text in cfg.settings[name].cli or () if text.startswith("--")), name)
        if name == "bind":
            added = [bind for bind in value if bind not in ours["bind"]]
            sentences.append(
                f"{option} {', '.join(added) or ', '.join(value)}: the gateway binds exactly what {_SAID_BY[name]} "
                f"say in {path}: {', '.join(ours['bind'])}; change it there"
            )
        elif name == "reload":
            sentences.append(f"{option}: use `gateway run --reload`, which also sees edits of {path}")
        elif name in _SAID_BY:
            sentences.append(f"{option} {value}: {_SAID_BY[name]} in {path} decides this")
        else:
            sentences.append(f"{option} {value}: the gateway needs this setting as it is")
    return sentences


def tailor(cfg: Any, config: Config, *, keep: Mapping[str, Any], stock: bool = False) -> Any:
    """A copy of gunicorn's settings for the workers of a reloaded configuration.

    keep: what the command line decided at the start and still does. Hooks and everything else stay as they are.
    """
    tailored = copy.copy(cfg)
    tailored.settings = {name: setting.copy() for name, setting in cfg.settings.items()}
    for name, value in of(config, stock=stock).items():
        if name in _ON_RELOAD and name not in keep:
            tailored.set(name, value)
    return tailored
