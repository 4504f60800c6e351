"""What operators do to a breaker: force it open or closed, disable it, reset it. Each call leaves an audit line."""

from __future__ import annotations

from typing import get_args

from gateway.errors import InvalidBody
from gateway.state.breakers import Action
from gateway.state.registration import shown

from . import views
from .api import Api, Reply, Request, document
from .audit import audit

ACTIONS: tuple[Action, ...] = get_args(Action)


def steer_breaker(api: Api, request: Request) -> Reply:
    action = _action(request.document)
    _, instance, breaker = views.breaker_of(api, request)
    before = breaker.status(api.clock.monotonic()).state
    breaker.steer(action)
    status = breaker.status(api.clock.monotonic())
    audit(
        request, f"breaker.{action}", service=instance.service, instance=instance.id, before=before, after=status.state
    )
    api.orders.keep(instance)
    return document(views.breaker_document(api, instance, status))


def _action(given: object) -> Action:
    """Of the JSON document {"action": …}. InvalidBody names the field and why."""
    listed = ", ".join(ACTIONS)
    if not isinstance(given, dict):
        raise InvalidBody("body: must be a JSON object")
    for name in given:
        if name != "action":
            raise InvalidBody(f"{name[:60]!a} is no field of this call; there is action")
    if "action" not in given:
        raise InvalidBody("action is missing")
    for action in ACTIONS:
        if given["action"] == action:
            return action
    raise InvalidBody(f"action must be one of {listed}, not {shown(given['action'])}")
