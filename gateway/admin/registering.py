"""Registration over HTTP: the document checked, the address looked up, then the registry asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.config.addresses import split_url
from gateway.errors import InvalidBody, NameUnresolved
from gateway.state.addresses import AddressRule
from gateway.state.registration import parse, parse_name

from .api import NO_CONTENT, Api, Reply, Request


class AddressCheck:
    """Whether a registered address may be connected to. It is asked again at each connect; this one tells the caller.

    resolve: the addresses of a host, within timeouts.dns; raises NameUnresolved.
    """

    def __init__(self, resolve: Callable[[str], Sequence[str]], rule: AddressRule) -> None:
        self._resolve = resolve
        self._rule = rule

    def __call__(self, addr: str) -> None:
        """addr: http(s)://host:port. InvalidBody names the field and why."""
        _, host, port = split_url(addr)
        try:
            addresses = self._resolve(host)
        except NameUnresolved as error:
            raise InvalidBody(f"addr: {error.detail}") from None
        refusal = self._rule.check(host, port, addresses)
        if refusal is not None:
            raise InvalidBody(f"addr: {refusal}")


def register(api: Api, request: Request) -> Reply:
    registration = parse(request.document)
    api.check_address(registration.addr)
    api.registry.register(registration)
    return NO_CONTENT


def deregister(api: Api, request: Request) -> Reply:
    """Also when there was no such instance: whoever stops twice must not fail the second time."""
    api.registry.deregister(*parse_name(request.document))
    return NO_CONTENT
