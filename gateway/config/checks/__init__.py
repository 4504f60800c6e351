"""What is right only in the light of other keys: one function per rule, each `rule(config, document)`.

A rule looks only at what `document.sound` vouches for, so that one mistake is told once, and notes what it finds in the
document. Values of one key are not its business: those are the units'.
"""

from __future__ import annotations

from collections.abc import Callable

from ..document import Document
from ..model import Config
from . import listeners, policies, routes, services, shadow, state

Check = Callable[[Config, Document], None]

CHECKS: tuple[Check, ...] = (
    listeners.there_is_a_listener,
    listeners.binds_differ,
    listeners.listeners_exist,
    listeners.admin_is_guarded,
    listeners.certificates_load,
    state.there_is_room,
    state.one_process_has_one_memory,
    services.instance_ids_differ,
    services.gateway_is_no_backend,
    services.breakers_are_possible,
    services.probes_are_possible,
    services.tls_files_load,
    services.kinds_go_together,
    services.routes_hash_by_something,
    services.cookies_can_be_told_apart,
    routes.ids_differ,
    routes.one_target,
    routes.names_exist,
    routes.variables_exist,
    routes.prefixes_fit,
    routes.one_rewriting,
    routes.fixed_responses_can_be_sent,
    routes.encoded_forms_are_allowed,
    routes.framing_is_left_alone,
    shadow.nothing_is_shadowed,
    policies.jwt_keys_fit,
    policies.api_keys_differ,
    policies.limits_are_possible,
    policies.cors_is_possible,
)
