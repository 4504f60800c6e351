"""What operators ordered of an instance, kept over a restart: drained, disabled, its breaker forced or disabled.

An order acts through the records of `health` and `breakers`, which end with the gateway. So what holds is written down
as a document, `orders/<service>/<id>`, and a worker that finds records which nothing has touched yet gives the orders
again before it serves. Records that were touched are the truth: during the gateway's life documents are only written.

Two operators at once: whoever writes looks afterwards whether what is written still holds, and else writes again. So
the last to write has seen the last order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

import structlog

from gateway.config.model import Breaker as BreakerSettings
from gateway.config.model import Health as HealthSettings
from gateway.errors import StoreUnavailable

from .breakers import Action as BreakerAction
from .breakers import Breakers
from .engines import Engine
from .health import Action as HealthAction
from .health import Healths
from .operations import breaker, health
from .registry import Instance

TOPIC = "orders"

_log = structlog.get_logger("gateway.orders")

_MODES: dict[str, HealthAction] = {"draining": "drain", "disabled": "disable"}
_PHASES: dict[str, BreakerAction] = {
    "forced_open": "force_open", "forced_closed": "force_close", "disabled": "disable",
}  # fmt: skip


class Order(NamedTuple):
    """What holds by order. mode: a key of _MODES, phase: one of _PHASES; None: nothing was ordered."""

    mode: str | None = None
    phase: str | None = None


NONE = Order()


class Orders:
    """Safe in every thread."""

    def __init__(self, engine: Engine, healths: Healths, breakers: Breakers) -> None:
        self._engine = engine
        self._healths = healths
        self._breakers = breakers

    def keep(self, instance: Instance) -> None:
        """Write down what holds for it now. Raises StoreUnavailable (StoreFull): the order holds, but is not kept."""
        while True:
            order = self._in_force(instance)
            try:
                self._write(instance, order)
            except StoreUnavailable as error:
                detail = f"The order is in force, but will not outlive a restart: {error.detail}"
                raise type(error)(detail, service=instance.service, instance=instance.id) from error
            if self._in_force(instance) == order:
                return

    def forget(self, key: str) -> None:
        """Of an instance that is gone, by its key: orders do not pass to the next one of its name."""
        service, _, rest = key.partition("/")
        document = _document(service, rest.partition("@")[0])
        raw = self._engine.get(document)
        if raw is not None and _read(raw)[0] == key:
            self._delete(document)

    def restore(self, instances: Iterable[Instance]) -> None:
        """Give the orders again that a restart has ended, to those of the instances that are still the same.

        Orders for a registered instance that is gone are deleted. One of the configuration may come back with it.
        """
        there = {instance.key: instance for instance in instances}
        for document, raw in self._engine.scan(f"{TOPIC}/"):
            key, since, order = _read(raw)
            instance = there.get(key)
            if instance is not None and instance.since == since:
                self._again(instance, order)
            elif since:
                self._delete(document)

    def _again(self, instance: Instance, order: Order) -> None:
        record = self._engine.record(health.STEER, instance.key)
        given = []
        try:
            if order.mode in _MODES and record.read() == health.INITIAL:
                self._healths.of(instance, HealthSettings()).steer(_MODES[order.mode])
                given.append(order.mode)
            handle = self._breakers.of(instance, BreakerSettings())
            if handle is not None and order.phase in _PHASES and handle.record.read() == breaker.INITIAL:
                handle.steer(_PHASES[order.phase])
                given.append(f"breaker {order.phase}")
        except StoreUnavailable as error:
            _log.error("order_not_restored", service=instance.service, instance=instance.id, why=error.detail)
        if given:
            _log.warning("order_restored", service=instance.service, instance=instance.id, order=given)

    def _write(self, instance: Instance, order: Order) -> None:
        document = _document(instance.service, instance.id)
        if order != NONE:
            value = {"key": instance.key, "since": instance.since, **order._asdict()}
            self._engine.put(document, json.dumps(value, separators=(",", ":")).encode())
        elif self._engine.get(document) is not None:
            self._engine.delete(document)

    def _in_force(self, instance: Instance) -> Order:
        record = health.Record.of(self._engine.record(health.STEER, instance.key).read())
        mode = health.MODES[record.mode] if record.life == instance.since else None
        phase = breaker.PHASES[self._engine.record(breaker.ALLOW, instance.key).read()[0]]
        return Order(mode if mode in _MODES else None, phase if phase in _PHASES else None)

    def _delete(self, document: str) -> None:
        """For whom nobody waits: what cannot be deleted now is passed over at the next restart."""
        try:
            self._engine.delete(document)
        except StoreUnavailable as error:
            _log.error("order_not_deleted", document=document, why=error.detail)


def _document(service: str, id: str) -> str:
    return f"{TOPIC}/{service}/{id}"


def _read(raw: bytes) -> tuple[str, float, Order]:
    """Key, life and order of a document; the key is "" when it cannot be read (written by another version)."""
    try:
        value = json.loads(raw)
        return str(value["key"]), float(value["since"]), Order(value["mode"], value["phase"])
    except (ValueError, KeyError, TypeError):
        return "", 0.0, NONE
