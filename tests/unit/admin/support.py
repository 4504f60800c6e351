"""An admin stage over real state in memory, called as the edge would call it."""

import io
import json
from types import MappingProxyType

from gateway.admin.access import allowed_hosts
from gateway.admin.api import Api, Status
from gateway.admin.handler import Admin
from gateway.clock import FakeClock
from gateway.config.addresses import parse_bind
from gateway.config.model import Admin as Settings
from gateway.config.model import Breaker, Defaults, Instance, Metrics, Service
from gateway.config.units import Secret
from gateway.edge.problems import problem
from gateway.errors import Refusal
from gateway.exchange import Answer, Exchange
from gateway.state.breakers import Breakers
from gateway.state.budgets import RetryBudgets
from gateway.state.engines.memory import MemoryEngine
from gateway.state.health import Healths
from gateway.state.inflight import InFlight
from gateway.state.orders import Orders
from gateway.state.registry import Registry
from gateway.telemetry.metrics import RequestMetrics

SERVICES = {
    "echo": Service(
        instances=(Instance(id="inst-1", url="http://127.0.0.1:8081", zone="a", tags=("x",)),),
        breaker=Breaker(failures=2, open_for=30.0),
    ),
    "bare": Service(
        instances=(Instance(id="b", url="http://127.0.0.1:9", weight=3),), breaker=None, registration="off"
    ),
}


class Site:
    """settings: of the `admin` section, tokens as plain text."""

    def __init__(self, *, metrics=None, binds=("127.0.0.1:8001",), check_address=lambda addr: None, **settings):
        self.clock = FakeClock()
        engine = MemoryEngine(1 << 20, self.clock)
        self.breakers = Breakers(engine, self.clock, ())
        self.healths = Healths(engine, self.clock, ())
        self.inflight = InFlight(engine)
        self.registry = Registry(engine, self.clock, MappingProxyType(SERVICES), Defaults())
        self.requests = RequestMetrics(engine.counters("metrics", held=False), 100)
        reload = {"ok": True, "at": "2023-11-14T22:13:20.000Z", "errors": []}
        self.status = Status("ready", 3, 1_699_999_000.0, reload, 2)
        self.api = Api(
            registry=self.registry,
            breakers=self.breakers,
            healths=self.healths,
            orders=Orders(engine, self.healths, self.breakers),
            inflight=self.inflight,
            budgets=RetryBudgets(engine),
            clock=self.clock,
            check_address=check_address,
            routes=lambda: [{"id": "echo", "path": "/echo/*"}],
            route_count=1,
            configuration=lambda: {"admin": {"token": "***"}},
            digest="abc",
            status=lambda: self.status,
            requests=self.requests,
        )
        for name in ("token", "register_token"):
            if name in settings:
                settings[name] = Secret(settings[name])
        made = Settings(**settings)
        self.admin = Admin(self.api, made, metrics or Metrics(), allowed_hosts(made.hosts, map(parse_bind, binds)))

    def send(
        self, method, path, document=None, *, headers=(), plane="internal", body=None, content_type="application/json"
    ):
        """The answer, as the edge gives it out. document: sent as JSON; body: the bytes instead."""
        if document is not None:
            body = json.dumps(document).encode()
        environ = {"REQUEST_METHOD": method, "CONTENT_TYPE": content_type if body is not None else ""}
        exchange = Exchange(environ, plane)
        exchange.raw_path = path
        exchange.headers = list(headers) or [("Host", "127.0.0.1:8001")]
        for name, value in headers:
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        if body is not None:
            exchange.body = io.BytesIO(body)
            exchange.content_length = len(body)
        return self.pass_on(exchange)

    def pass_on(self, exchange):
        try:
            return self.admin(exchange, lambda exchange: Answer(299, [], [b"proceeded"]))
        except Refusal as refusal:
            return problem(refusal, "id", exchange.method)

    def get(self, path, **more):
        """The document that a GET answers."""
        answer = self.send("GET", path, **more)
        assert answer.status == 200, answer.body
        return told(answer)


def told(answer):
    return json.loads(answer.body[0])


def refused(answer):
    """(status, reason) of a refusal."""
    return answer.status, told(answer)["reason"]
