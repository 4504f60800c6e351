"""Rules for listeners and for the admin API that one of them carries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..addresses import Bind, parse_bind
from ..document import Document
from ..files import problem_with
from ..model import Config, Listener, Plane
from ..problems import KeyPath


def listeners_of(config: Config) -> Iterator[tuple[Plane, Listener]]:
    """Those that exist."""
    if config.listeners.external:
        yield "external", config.listeners.external
    if config.listeners.internal:
        yield "internal", config.listeners.internal


def sound_binds(config: Config, document: Document) -> Iterator[tuple[KeyPath, Bind]]:
    """Every bind that could be read."""
    for plane, listener in listeners_of(config):
        for number, text in enumerate(listener.bind):
            path = ("listeners", plane, "bind", number)
            if document.sound(*path):
                yield path, parse_bind(text)


def there_is_a_listener(config: Config, document: Document) -> None:
    if document.sound("listeners") and not any(listeners_of(config)):
        document.refuse(("listeners",), "both listeners are null: nothing could reach the gateway")


def binds_differ(config: Config, document: Document) -> None:
    seen: list[tuple[KeyPath, Bind]] = []
    for path, bind in sound_binds(config, document):
        other = next((there for there, earlier in seen if bind.overlaps(earlier)), None)
        if other:
            why = f"the address is taken by the bind in {document.place(*other)}"
            document.refuse(_told(document, path), why, found=document.found(*path))
        seen.append((path, bind))


def _told(document: Document, path: KeyPath) -> KeyPath:
    """The path, or `listeners` when the bind is a default that the file does not name."""
    return path if document.given(*path) else path[:2]


def listeners_exist(config: Config, document: Document) -> None:
    """What names a listener names one that is not null. The defaults of admin and metrics may: then there is none."""
    present = {plane for plane, _ in listeners_of(config)}
    if not document.sound("listeners"):
        return
    for section, planes in (("admin", config.admin.listeners), ("metrics", config.metrics.listeners)):
        if document.given(section, "listeners"):
            _refuse_absent(document, (section, "listeners"), planes, present)
        elif not present.intersection(planes):
            why = f"no listener carries {section}: its default is internal, which is null"
            document.warn((section,), why, likely=f"{section}: {{listeners: [external]}}")
    for number, route in enumerate(config.routes):
        path = ("routes", number, "listeners")
        if document.given(*path):
            _refuse_absent(document, path, route.listeners, present)
            if not route.listeners and document.sound(*path):
                document.refuse(path, "empty: no request could match", allowed=", ".join(sorted(present)))
        elif not present.intersection(route.listeners):
            document.refuse(
                ("routes", number),
                "no request can match: its listener is external, which is null",
                likely="listeners: [internal]",
            )


def _refuse_absent(document: Document, path: KeyPath, planes: tuple[Plane, ...], present: set[Plane]) -> None:
    for number, plane in enumerate(planes):
        if plane not in present and document.sound(*path, number):
            allowed = ", ".join(sorted(present))
            document.refuse((*path, number), f"the {plane} listener is null", found=plane, allowed=allowed)


def admin_is_guarded(config: Config, document: Document) -> None:
    """Beyond this machine, the internal listener and whatever carries the admin API need a token, or a clear word."""
    admin = config.admin
    if not document.sound("admin") or not document.sound("listeners"):
        return
    if admin.token is None and admin.register_token is not None and admin.listeners:
        document.warn(
            ("admin", "register_token"), "guards /register only; without admin.token every other admin call is open"
        )
    if admin.insecure or admin.token or admin.register_token:
        return
    for path, bind in sound_binds(config, document):
        if not bind.loopback and path[1] in {"internal", *admin.listeners}:
            document.refuse(
                _told(document, path),
                "is reached from beyond this machine, and neither admin.token nor admin.register_token is set",
                found=document.found(*path),
                allowed="an address of the loopback or unix:, a token, or admin.insecure: true",
            )


def certificates_load(config: Config, document: Document) -> None:
    for plane, listener in listeners_of(config):
        path: KeyPath = ("listeners", plane, "tls")
        if not listener.tls or not document.sound(*path):
            continue
        tls = listener.tls
        files_load(document, path, tls.certificate, tls.key, tls.client_ca, ca_key="client_ca")
        if tls.client_auth != "none" and tls.client_ca is None:
            document.refuse((*path, "client_auth"), "needs client_ca, which says whose certificates are good")


def files_load(
    document: Document, path: KeyPath, certificate: Path | None, key: Path | None, ca: Path | None, *, ca_key: str
) -> None:
    """Refuse files that are not there or that OpenSSL does not take."""
    for name, file in (("certificate", certificate), ("key", key), (ca_key, ca)):
        problem = problem_with(str(file)) if file else None
        if problem:
            document.refuse((*path, name), f"the file cannot be used: {problem}", found=document.found(*path, name))
    if not document.sound(*path):
        return
    import ssl  # slow to import, so only TLS pays for it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate and key:
        try:
            context.load_cert_chain(certificate, key, password=lambda: b"")  # never ask at a terminal
        except (ssl.SSLError, ValueError, OSError) as error:
            why = "certificate and key do not belong together, or one of them is not PEM, or the key has a password"
            document.refuse((*path, "certificate"), f"{why} ({_reason(error)})")
    if ca:
        try:
            context.load_verify_locations(ca)
        except (ssl.SSLError, ValueError, OSError) as error:
            document.refuse((*path, ca_key), f"holds no certificates in PEM ({_reason(error)})")


def _reason(error: Exception) -> str:
    """OpenSSL's short word for what it found; its messages hold nothing of the file."""
    return str(getattr(error, "reason", None) or "unreadable").replace("_", " ").lower()
