"""GET /metrics: the requests that the edge counted, and what is read on the spot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.state.registry import Instance, ServiceView
from gateway.telemetry.metrics import CONTENT_TYPE, Gauge, Metrics

from .api import Api, Reply, Request
from .views import breaker_status

_PHASES = {"closed": 0, "forced_closed": 0, "disabled": 0, "half_open": 1, "open": 2, "forced_open": 2}
_INSTANCE = ("service", "instance")

Samples = Iterator[tuple[tuple[str, ...], float]]


def metrics(api: Api, request: Request) -> Reply:
    return Reply(200, CONTENT_TYPE, Metrics(api.requests, gauges(api)).expose())


def gauges(api: Api) -> tuple[Gauge, ...]:
    """What is not counted but read when asked for."""
    status, retries = api.status(), api.budgets.told()
    successful = status.last_reload is None or bool(status.last_reload.get("ok"))

    def single(name: str, help: str, value: float, *, counter: bool = False) -> Gauge:
        return Gauge(name, help, (), lambda: [((), value)], counter)

    return (
        Gauge("gateway_in_flight", "Requests under way to the instance.", _INSTANCE, lambda: _in_flight(api)),
        Gauge(
            "gateway_breaker_state",
            "0 closed, forced closed or disabled, 1 half open, 2 open or forced open.",
            _INSTANCE,
            lambda: _breakers(api),
        ),
        Gauge("gateway_instance_healthy", "1 healthy, 0 not.", _INSTANCE, lambda: _healthy(api)),
        Gauge(
            "gateway_retries", "Attempts beyond the first.", ("service",), lambda: _retries(retries, 0), counter=True
        ),
        Gauge(
            "gateway_retries_denied",
            "Attempts that the retry budget did not allow.",
            ("service",),
            lambda: _retries(retries, 1),
            counter=True,
        ),
        single("gateway_config_generation", "Accepted loads of the configuration.", status.generation),
        single("gateway_config_last_reload_successful", "0 when the last reload was refused.", float(successful)),
        single("gateway_config_reload_failures", "Reloads refused.", status.reload_failures, counter=True),
    )


def _instances(api: Api) -> Iterator[tuple[ServiceView, Instance]]:
    for view in api.registry.snapshot().services.values():
        for one in view.instances:
            yield view, one


def _in_flight(api: Api) -> Samples:
    for view, one in _instances(api):
        yield (view.name, one.id), api.inflight.in_flight_of(one.key)


def _breakers(api: Api) -> Samples:
    now = api.clock.monotonic()
    for view, one in _instances(api):
        status = breaker_status(api, view, one, now)
        if status is not None:
            yield (view.name, one.id), _PHASES[status.state]


def _healthy(api: Api) -> Samples:
    """What probes and requests say of it; whether it drains or is disabled is another matter."""
    now = api.clock.monotonic()
    for view, one in _instances(api):
        yield (view.name, one.id), api.healths.of(one, view.settings.health).mark(now).healthy


def _retries(told: Mapping[str, tuple[int, int]], which: int) -> Samples:
    """which: 0 made, 1 denied."""
    for service, counts in told.items():
        yield (service,), counts[which]
