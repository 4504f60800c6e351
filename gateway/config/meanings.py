"""What each key means, in a sentence: the source of the JSON Schema's descriptions and of docs/configuration.md.

A test demands an entry for every key of every section of the model, and no other.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import model as m

MEANINGS: Mapping[type, Mapping[str, str]] = {
    m.Config: {
        "version": "The version of this format.",
        "include": "Globs of more files, joined with this one.",
        "listeners": "Where the gateway listens.",
        "server": "Processes, threads and limits.",
        "state": "Where registrations, breakers and counters are kept.",
        "admin": "Who may register, look and steer.",
        "defaults": "What every service and route starts from.",
        "services": "The backends, by name. A service that registers without being listed here gets the defaults.",
        "discovery": "Where else instances come from.",
        "routes": "Which request goes to which service.",
        "auth": "How clients prove who they are.",
        "rate_limits": "Limits by name, for the routes' `rate_limit`.",
        "cors": "CORS rules by name, for the routes' `cors`.",
        "cache": "Where answers are kept.",
        "logging": "The log.",
        "metrics": "Prometheus metrics.",
        "tracing": "Trace headers and spans.",
        "recorder": "The flight recorder: all refusals and errors, and a share of the rest.",
        "routing": "Routing by code.",
        "setup": "`module:function`, called with the registry once per node after the start: registration in code.",
    },
    m.Listeners: {
        "external": "For users: authentication, limits and cache apply. null: there is none.",
        "internal": (
            "For services and operators: no authentication, no limits; the admin API is here. null: there is none."
        ),
    },
    m.Listener: {
        "bind": "Addresses to listen on; gunicorn binds exactly these. Changing them needs a restart.",
        "tls": "Serve HTTPS.",
    },
    m.ListenerTls: {
        "certificate": "PEM file: the certificate and those between it and the root.",
        "key": "PEM file: the private key, without a password.",
        "client_ca": "PEM file: authorities whose client certificates are good.",
        "client_auth": "Whether clients are asked for a certificate, and must have one.",
    },
    m.Server: {
        "workers": "Processes. null: as many as CPUs may be used, the least of affinity and cgroup quota (rounded up).",
        "threads": "Per worker, for the external listener.",
        "internal_threads": (
            "Per worker, reserved for the internal listener: calls that services make back in never "
            "wait for their own callers."
        ),
        "pin_cpus": "One CPU per worker. auto: when there is no cgroup quota and there are no more workers than CPUs.",
        "keepalive": "How long an idle client connection is kept.",
        "graceful_timeout": "Stop: requests in flight get that long.",
        "reload_drain": "Reload: requests in flight in the old workers get that long, while the new ones serve.",
        "request_head_timeout": "For the whole request head to arrive; else 408.",
        "client_idle": (
            "A client that neither sends its body nor reads the answer for that long gets 408 or is disconnected."
        ),
        "backlog_wait": "A request that found no thread for that long gets 503 `overloaded`.",
        "max_request_body": "More gets 413.",
        "max_request_line": "More gets 414.",
        "max_request_headers": "More gets 431.",
        "trusted_proxies": "Networks, or `unix`, whose X-Forwarded-*, Forwarded and X-Request-ID are believed.",
        "security_headers": "Added to external answers that lack them, such as `{X-Content-Type-Options: nosniff}`.",
    },
    m.HeaderLimits: {
        "count": "Header lines of a request.",
        "size": "Bytes of all of them.",
    },
    m.State: {
        "engine": (
            "memory: this process alone. node: all workers of this machine. redis: all machines. "
            "Changing it needs a restart."
        ),
        "path": (
            "node: a folder on a local disk, created with mode 0700. A second master on it refuses to "
            "start. Changing it needs a restart."
        ),
        "max_size": "node: allocated at the start, does not grow. Changing it needs a restart.",
        "redis": "redis: the server.",
        "on_failure": "Redis out of reach, for limits and cache. local: as node. deny: 503.",
    },
    m.RedisState: {
        "url": "The server: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.",
        "prefix": "Before every key.",
        "timeout": "For a call.",
    },
    m.Admin: {
        "listeners": "Which listeners carry the admin API; on the others its paths do not exist.",
        "token": "When set, every admin call needs `Authorization: Bearer <token>`.",
        "register_token": "When set, `/register` needs this one, or the admin token.",
        "insecure": (
            "true: an internal listener (or another that carries the admin API) beyond the loopback "
            "may do without a token."
        ),
        "hosts": "Names under which the admin API may be called, beside addresses and localhost.",
        "register_networks": "Where the address of a registered instance may resolve to; checked at each connect.",
    },
    m.Defaults: {
        "timeouts": "Of requests to backends.",
        "pool": "Connections to backends.",
        "concurrency": "Requests at once on the external listener, per node; over it 429. null: no limit.",
    },
    m.Timeouts: {
        "connect": "For TCP and TLS with an instance.",
        "request": (
            "From the request's head to the answer's head, retries included, paused while the client "
            "sends its body; then 504."
        ),
        "upstream": "Of one attempt: until the answer's head is whole, then between two reads of its body.",
        "idle": "An idle connection to an instance is closed after that long.",
        "dns": "For resolving an instance's name.",
        "dns_ttl": "How long a resolved name is used before it is looked up again.",
    },
    m.Pool: {
        "max_connections": "Per instance and worker.",
    },
    m.Concurrency: {
        "global": "Requests at once to everything.",
        "per_service": "Requests at once to each service.",
        "queue": "How long a request waits before it gets 429.",
    },
    m.Service: {
        "expose": "true: reachable through a route whose service is a variable, without being listed.",
        "registration": "open: instances may register over HTTP. off: they may not.",
        "static": "always: the instances below always serve. fallback: only while none is registered or discovered.",
        "instances": "Static instances; more come by registration.",
        "balancer": "How an instance is chosen.",
        "hash": "For consistent_hash: by what.",
        "sticky": "A cookie keeps a client on its instance.",
        "slow_start": "A new instance's share grows to full over that long.",
        "prefer_zone": "Instances of that zone first.",
        "retries": "When and how often another attempt is made.",
        "breaker": "When an instance gets no requests for a while. null: never.",
        "health": "Which instances are well.",
        "tls": "For instances with an https URL.",
        "protocol": "What the instances speak.",
        "grpc": "For protocol grpc: where the messages are described.",
        "timeouts": "Over `defaults.timeouts`, key by key.",
        "pool": "Over `defaults.pool`, key by key.",
        "concurrency": "Over `defaults.concurrency`, key by key. null: no limit.",
    },
    m.Instance: {
        "id": "Unique within the service.",
        "url": "`http(s)://host:port`, nothing behind it.",
        "weight": "Its share of the requests, for weighted balancers.",
        "zone": "Where it runs.",
        "tags": "For the routes' `tags`.",
    },
    m.Hash: {
        "key": "What is hashed.",
        "fallback": "What is hashed where the key is missing.",
        "bounded_load": "An instance gets at most that many times the mean.",
    },
    m.Sticky: {
        "cookie": "The cookie's name.",
        "secret": "Signs the cookie.",
        "ttl": "How long the cookie holds.",
        "secure": "The cookie is for HTTPS only.",
    },
    m.Retries: {
        "attempts": "All tries: 2 is one retry, 1 is none.",
        "when": "Failures and statuses after which another attempt is made.",
        "methods": "Which requests may be sent twice. A connection that was refused is tried again for all.",
        "budget": "Retries are at most that share of the requests.",
        "min_per_second": "So many retries are allowed however few the requests.",
        "backoff": "Before the first retry, with jitter; doubles with each.",
    },
    m.Breaker: {
        "failures": "That many consecutive failures open it; with `window`: failures within it.",
        "window": 'The time that is looked back on: 10.5s, or "3.5x request" (times `timeouts.request`).',
        "failure_ratio": "That share of failures within `window` opens it.",
        "minimum_calls": "Shares count from that many calls on.",
        "slow_call": "Slow calls open it too.",
        "open_for": "How long an open one lets nothing through.",
        "max_open_for": "Set: `open_for` doubles with each reopening, up to this.",
        "half_open_probes": "Probes at once after that; that many successes close it, one failure reopens it.",
        "failure_on": "What counts as a failure.",
        "deregister": "true: an instance whose breaker opens is also taken out of discovery.",
        "max_ejected": "At most this share of a service's instances is open at once (but at least one may be).",
    },
    m.SlowCall: {
        "over": "A call that takes longer is slow.",
        "ratio": "That share of slow calls within `window` opens the breaker.",
    },
    m.Health: {
        "active": "Probes. null: none.",
        "passive": "Judged by requests. null: not.",
        "when_none_healthy": "fail: 503. try_all: all instances are used.",
    },
    m.ActiveHealth: {
        "type": "http: a GET. tcp: a connection.",
        "path": "What is asked for.",
        "host": "The Host header. null: the instance's own.",
        "expect": "Good statuses.",
        "body": "A text that the answer must hold.",
        "interval": "Between two probes of an instance.",
        "timeout": "For a probe.",
        "healthy_after": "Successes in a row.",
        "unhealthy_after": "Failures in a row.",
    },
    m.PassiveHealth: {
        "failures": "So many within `window` make an instance unhealthy.",
        "window": "The time that is looked back on.",
        "retry_after": "When it is tried again.",
    },
    m.UpstreamTls: {
        "ca": "PEM file: authorities that may have signed the instances' certificates. null: the system's.",
        "certificate": "PEM file: the gateway's own certificate, for instances that ask for one.",
        "key": "PEM file: its private key, without a password.",
        "server_name": "The name to ask for and to check. null: the host of the instance's URL.",
        "verify": "false: any certificate is taken. Only for experiments.",
    },
    m.Grpc: {
        "descriptor_set": "A file that protoc wrote.",
        "reflection": "true: the instances are asked.",
    },
    m.HttpDiscovery: {
        "type": "http: a list of instances behind a URL.",
        "url": "Where the list is.",
        "interval": "Between two looks.",
        "report": "true: failing instances are reported there.",
    },
    m.DockerDiscovery: {
        "type": "docker: containers with labels.",
        "socket": "The Docker daemon.",
    },
    m.DnsDiscovery: {
        "type": "dns: SRV or address records.",
        "name": "What is looked up.",
        "service": "The service that the instances belong to.",
        "interval": "Between two looks.",
    },
    m.Route: {
        "id": "Unique; stands in the log and in metrics.",
        "path": (
            "`/a/b` exact, `/a/*` that and all below it, `/users/{id}` a template, `~^/v[0-9]+/` a "
            "regular expression (Python's, from the path's beginning)."
        ),
        "allow_encoded": "Path forms that backends may read in two ways and that are refused unless named here.",
        "hosts": "`api.example.com`, `*.example.com`. Empty: any.",
        "methods": "Empty: any. GET includes HEAD. Another method gets 405.",
        "headers": 'Header fields that a request must have: `X-Version: v2`, `X-Beta: "*"` (present).',
        "listeners": "Where the route exists.",
        "service": 'A name under `services`, or `"{name}"`, a variable of the path.',
        "split": "Several services by weight, instead of `service`.",
        "balancer": "Instead of the service's.",
        "tags": "Only instances that carry them; all, when none does.",
        "strip_prefix": "Cut from the path before forwarding, such as `/api`.",
        "rewrite": "Changes to the request and the answer.",
        "preserve_host": "true: the backend sees the client's Host. false: the instance's.",
        "auth": (
            "default: `auth.default` on the external listener, none on the internal one. A list: any of them admits."
        ),
        "scopes": "All of these must be in the token.",
        "rate_limit": "A name under `rate_limits`, or several.",
        "concurrency": "Requests at once.",
        "cors": "A name under `cors`.",
        "cache": "Keep answers. null: not.",
        "timeouts": "Over the service's, key by key.",
        "retries": "Over the service's, key by key.",
        "max_request_body": "Instead of `server.max_request_body`.",
        "max_response_body": "More is broken off.",
        "min_rate": "A transfer slower than this is broken off.",
        "mirror": "Send a copy elsewhere; its answer is dropped.",
        "fixed_response": "Answer without a service.",
    },
    m.Split: {
        "service": "A name under `services`.",
        "weight": "Its share. 0: none.",
    },
    m.Rewrite: {
        "path": (
            "What the backend is asked for: `/v2/{id}` with variables of the path, `/v2/*` with what a "
            "prefix's `*` stands for."
        ),
        "request_headers": "Changes to the request's header fields.",
        "response_headers": "Changes to the answer's header fields.",
    },
    m.HeaderEdits: {
        "set": "Fields to set, in place of those of the name.",
        "remove": "Fields to remove.",
    },
    m.RouteCache: {
        "ttl": "How long an answer is kept.",
        "override": "true: whatever the answer's Cache-Control says.",
        "shared": "true: one answer for all clients, whoever they are.",
    },
    m.Mirror: {
        "service": "A name under `services`.",
        "share": "Of the requests.",
    },
    m.FixedResponse: {
        "status": "The answer's status.",
        "body": "The answer's body.",
        "content_type": "Its Content-Type.",
    },
    m.Auth: {
        "default": "What a route on the external listener needs when it says nothing.",
        "forward_authorization": "false: the credential is removed before forwarding.",
        "jwt": "JSON Web Tokens; several are told apart by issuer.",
        "api_key": "API keys.",
        "tokens": "Tokens that are seen at login and forgotten at logout.",
    },
    m.Jwt: {
        "algorithms": "Those that are accepted.",
        "secret": "For HS256, HS384 and HS512. Shorter than 32 bytes: a warning.",
        "public_key": "PEM file, for RS…, PS…, ES… and EdDSA.",
        "jwks_url": "Where a set of public keys is.",
        "discovery_url": "An OpenID configuration, which names the issuer and its keys.",
        "issuer": "What `iss` must be.",
        "audience": "What `aud` must hold.",
        "leeway": "By which clocks may differ.",
        "claims": "Claims that are forwarded, and in which header fields.",
        "require_exp": "true: a token must expire.",
        "require_active": "true: a token must also be in the token store.",
    },
    m.ApiKey: {
        "in": "Where a key is looked for.",
        "keys": "The keys, hashed.",
        "keys_file": "A file with more.",
    },
    m.Key: {
        "id": "Who it is.",
        "sha256": "The key's SHA-256, hexadecimal.",
        "scopes": "What it is good for.",
        "expires": "Until when.",
    },
    m.Tokens: {
        "capture": "Answers that hold a new token.",
        "revoke": "Requests that end a token.",
        "on_store_failure": "The token store out of reach. deny: 503. allow: tokens are not looked up.",
    },
    m.Capture: {
        "path": "The request's path, as the client sends it.",
        "method": "The request's method.",
        "field": "The field of the JSON answer that holds the token.",
        "ttl": "How long the token stays in the store.",
    },
    m.Revoke: {
        "path": "The request's path, as the client sends it.",
        "method": "The request's method.",
    },
    m.RateLimit: {
        "algorithm": "token_bucket allows bursts; sliding_window counts exactly.",
        "rate": "How many requests.",
        "burst": "How many at once. null: one second's worth.",
        "key": "What is counted by; several combine.",
        "fallback": "What is counted by where the key is missing.",
        "cost": "What a request takes.",
        "exempt": "Keys that are not limited.",
        "ipv6_prefix": "IPv6 clients are counted by a prefix of that many bits.",
        "mode": "observe: count and log what would have been refused, refuse nothing.",
    },
    m.Cors: {
        "origins": "Exact, `https://*.example.com`, or `~` and a regular expression.",
        "methods": "Allowed methods.",
        "headers": "Allowed request headers.",
        "expose": "Answer headers that scripts may read.",
        "credentials": "true: cookies and authorization are allowed.",
        "max_age": "How long a browser remembers this.",
    },
    m.Cache: {
        "engine": "Where.",
        "path": "node: the folder.",
        "max_size": "Of everything.",
        "max_object": "Of one answer; a larger one is not kept.",
    },
    m.Logging: {
        "level": "The least that is logged.",
        "format": "json: one object a line. console: for reading along.",
        "access": "One line per request.",
        "sample": "That share of the access log; refusals and errors always.",
        "mask": "Names of header fields and query parameters whose values are not logged.",
    },
    m.Metrics: {
        "path": "Where.",
        "listeners": "On which listeners.",
        "max_label_values": "A label with more values counts the rest as `other`.",
    },
    m.Tracing: {
        "propagate": "traceparent and tracestate are passed on, or begun.",
        "b3": "true: B3 headers too.",
        "otlp_endpoint": "Where spans are sent. null: nowhere.",
        "sample": "That share of the traces that begin here.",
    },
    m.Recorder: {
        "max_size": "Of everything that is kept.",
        "sample": "Of the requests that went well.",
    },
    m.Routing: {
        "function": (
            "`module:function`, called with a Werkzeug Request before `routes` are looked at; returns "
            "the name of a service, or None."
        ),
    },
}
