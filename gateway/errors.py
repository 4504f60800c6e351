"""The error tree: every refusal that the gateway itself makes, with its status, its stable reason and the way out.

A stage refuses by raising one of these; `edge` turns it into `application/problem+json` (RFC 9457). `reason` is the
same word in the answer, the access log and the metrics, and never changes once published. `docs/errors.md` is the
catalogue for users; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class Refusal(Exception):
    """A request refused. Class attributes are the kind, instance attributes the case at hand.

    detail: one sentence for the client: what was found and what was expected; never a secret, never a traceback.
    retry_after: seconds after which trying again makes sense, sent as Retry-After (rounded up).
    policy, service, instance: what refused, where that is known.
    headers: more header fields of the answer, such as Allow.
    received: monotonic, when the request came that the server refuses before the application knows of it.
    close: the connection is in an unknown state and must not be used again.
    """

    status: int = 500
    reason: str = "internal_error"
    title: str = "Internal error"
    remedy: str = "Nothing to do for the client; the log holds the traceback under this request id."
    close: bool = False
    received: float | None = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after: float | None = None,
        policy: str | None = None,
        service: str | None = None,
        instance: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.detail = detail or self.title
        self.retry_after = retry_after
        self.policy = policy
        self.service = service
        self.instance = instance
        self.headers = headers
        super().__init__(self.detail)


# --- 4xx: the request ------------------------------------------------------------------------------------------------
class Malformed(Refusal):
    status, reason, title = 400, "malformed_request", "The request is not valid HTTP"
    remedy = "Send a request that RFC 9112 allows; the detail names the part."
    close = True


class BadHost(Refusal):
    status, reason, title = 400, "bad_host", "The Host header is missing or not a host"
    remedy = "Send exactly one Host header with a name or an address."


class BadPath(Refusal):
    status, reason, title = 400, "bad_path", "The path can be read in two ways"
    remedy = (
        "Send the path without dot segments, encoded slashes, //, ; or %00, "
        "or allow the form in the route's allow_encoded."
    )


class InvalidBody(Refusal):
    status, reason, title = 400, "invalid_body", "The body is not what this call expects"
    remedy = "Correct the field that the detail names."


class Unauthorized(Refusal):
    status, reason, title = 401, "admin_token_required", "The admin API needs its token"
    remedy = "Send Authorization: Bearer with the token that admin.token configures."


class OriginRefused(Refusal):
    status, reason, title = 403, "origin_refused", "The admin API does not answer browsers"
    remedy = "Call it from a program that sends no Origin header."


class HostRefused(Refusal):
    status, reason, title = 403, "host_refused", "The admin API does not answer to this Host"
    remedy = "Use an address, localhost, or a name that admin.hosts lists."


class NoRoute(Refusal):
    status, reason, title = 404, "no_route", "No route matches"
    remedy = "Compare the request with `gateway routes`."


class UnknownService(Refusal):
    status, reason, title = 404, "unknown_service", "No such service is exposed here"
    remedy = "Name a service that the configuration lists or exposes (expose: true)."


class NotFound(Refusal):
    status, reason, title = 404, "not_found", "No such resource"
    remedy = "GET /openapi.json and GET /services tell what there is."


class MethodNotAllowed(Refusal):
    status, reason, title = 405, "method_not_allowed", "The route does not take this method"
    remedy = "Use a method that the Allow header lists."


class ClientTimeout(Refusal):
    status, reason, title = 408, "client_timeout", "The client was too slow"
    remedy = "Send the head within server.request_head_timeout and the body without pauses over server.client_idle."
    close = True


class StaticInstance(Refusal):
    status, reason, title = 409, "static_instance", "This id belongs to an instance in the configuration"
    remedy = "Register under another id, or change the configuration."


class RegistrationOff(Refusal):
    status, reason, title = 409, "registration_off", "The service takes no registrations over HTTP"
    remedy = "Set registration: open for the service, or add the instance to the configuration."


class BodyTooLarge(Refusal):
    status, reason, title = 413, "body_too_large", "The request body is too large"
    remedy = "Send less, or raise max_request_body."
    close = True


class UriTooLong(Refusal):
    status, reason, title = 414, "uri_too_long", "The request line is too long"
    remedy = "Shorten the URL, or raise server.max_request_line."
    close = True


class WrongContentType(Refusal):
    status, reason, title = 415, "wrong_content_type", "The body must be JSON"
    remedy = "Send Content-Type: application/json."


class ExpectationFailed(Refusal):
    status, reason, title = 417, "expectation_failed", "The Expect header asks for something unknown"
    remedy = "Send Expect: 100-continue or none."
    close = True


class HeadersTooLarge(Refusal):
    status, reason, title = 431, "headers_too_large", "The request head is too large"
    remedy = "Send fewer or shorter headers, or raise server.max_request_headers."
    close = True


class ClientGone(Refusal):
    """The client broke off; the status is only for the log (as nginx writes it), nobody reads the answer."""

    status, reason, title = 499, "client_gone", "The client closed the connection"
    remedy = "Nothing to do: the client left before the answer was complete."
    close = True


# --- 5xx: the gateway ------------------------------------------------------------------------------------------------
class InternalError(Refusal):
    pass


class NotSupported(Refusal):
    status, reason, title = 501, "not_supported", "The gateway does not do this"
    remedy = "The detail names the feature; README lists what is there."
    close = True


class Overloaded(Refusal):
    status, reason, title = 503, "overloaded", "Every thread of the gateway is busy"
    remedy = "Try again later; the operator adds server.threads or workers, or shortens timeouts."
    close = True


class Draining(Refusal):
    status, reason, title = 503, "draining", "This gateway is starting or stopping"
    remedy = "Try again; another worker or gateway answers."


class CutOff(Refusal):
    """The worker ended before the answer did; only for the record: the connection is reset, nobody reads it."""

    status, reason, title = 503, "cut_off", "The gateway stopped or reloaded before the answer was complete"
    remedy = "Try again; the operator raises server.graceful_timeout or server.reload_drain where answers take longer."
    close = True


class StoreUnavailable(Refusal):
    status, reason, title = 503, "store_unavailable", "The gateway's shared state cannot be written"
    remedy = "The operator looks at state.path (space, rights) or the Redis server."


class StoreFull(StoreUnavailable):
    reason, title = "store_full", "The gateway's shared state is full"
    remedy = "Remove registrations, or raise state.max_size (needs a restart)."


class LoopDetected(Refusal):
    status, reason, title = 508, "loop_detected", "The request has been here before"
    remedy = "A backend sends requests back to the gateway that forwarded them: correct the instance's address."


# --- 5xx: the backend ------------------------------------------------------------------------------------------------
class NoInstance(Refusal):
    status, reason, title = 503, "no_instance", "The service has no instance"
    remedy = "Register an instance, or configure one."


class CircuitOpen(Refusal):
    status, reason, title = 503, "circuit_open", "The circuit breaker of every instance is open"
    remedy = "Wait for Retry-After; GET /services tells the state of each instance."


class NoHealthyInstance(Refusal):
    status, reason, title = 503, "no_healthy_instance", "No instance of the service may be used"
    remedy = "Wait for Retry-After; GET /services tells the state of each instance and why."


class UpstreamFailure(Refusal):
    """What one attempt at a backend can end with. `failure` is the word that `failure_on` and `when` use for it.

    sent: whether any byte of the request may have reached the backend (nothing sent: safe to retry for any method).
    """

    status, reason, title = 502, "upstream_failed", "The backend failed"
    remedy = "Look into the backend's log under this request id."
    failure = "reset"
    sent = True


class ConnectRefused(UpstreamFailure):
    status, reason, title = 502, "connect_refused", "The backend cannot be reached"
    remedy = "Start the backend, or correct its address."
    failure, sent = "connect", False


class ConnectTimeout(UpstreamFailure):
    status, reason, title = 504, "connect_timeout", "The backend did not accept the connection in time"
    remedy = "Look at the backend's load and network, or raise timeouts.connect."
    failure, sent = "connect", False


class PoolExhausted(UpstreamFailure):
    status, reason, title = 503, "pool_exhausted", "Every connection to the instance is in use"
    remedy = "Raise pool.max_connections, or add instances."
    failure, sent = "none", False


class NameUnresolved(UpstreamFailure):
    status, reason, title = 502, "name_unresolved", "The backend's name does not resolve"
    remedy = "Correct the name or the resolver; timeouts.dns bounds the wait."
    failure, sent = "connect", False


class AddressRefused(UpstreamFailure):
    status, reason, title = 502, "address_refused", "The backend's address is not allowed"
    remedy = "Allow its network in admin.register_networks; the gateway's own listeners are never a backend."
    failure, sent = "connect", False


class TlsFailed(UpstreamFailure):
    status, reason, title = 502, "tls_failed", "TLS with the backend failed"
    remedy = "Correct the service's tls section or the backend's certificate."
    failure, sent = "connect", False


class UpstreamReset(UpstreamFailure):
    status, reason, title = 502, "upstream_reset", "The backend closed the connection without a whole answer"
    remedy = "Look into the backend's log under this request id."


class BadAnswer(UpstreamFailure):
    status, reason, title = 502, "bad_answer", "The backend's answer is not valid HTTP"
    remedy = "The detail names what is wrong with the answer; correct the backend."


class AnswerTooLarge(UpstreamFailure):
    status, reason, title = 502, "answer_too_large", "The head of the backend's answer is too large"
    remedy = "Shorten the answer's header fields."


class UpstreamTimeout(UpstreamFailure):
    status, reason, title = 504, "upstream_timeout", "The backend did not answer in time"
    remedy = "Make the backend faster, or raise timeouts.upstream."
    failure = "timeout"


class DeadlineExceeded(UpstreamFailure):
    status, reason, title = 504, "deadline_exceeded", "The request's time is used up"
    remedy = "Raise timeouts.request, or make the backend faster."
    failure = "timeout"


def catalogue() -> Iterator[type[Refusal]]:
    """Every class of the tree with a reason of its own, for the documentation's test and the metrics' labels."""
    seen: set[str] = set()
    queue: list[type[Refusal]] = [Refusal]
    while queue:
        kind = queue.pop(0)
        queue.extend(kind.__subclasses__())
        if kind.reason not in seen:
            seen.add(kind.reason)
            yield kind
