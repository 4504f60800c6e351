"""Routes and exchanges for the routing tests, with what a test does not say left out."""

from gateway.config.model import Route
from gateway.exchange import Exchange
from gateway.routing.table import Table


def route(path, *, id=None, service="s", **keys):
    if keys.keys() & {"split", "fixed_response"}:
        service = None
    return Route(id=id or path, path=path, service=service, **keys)


def table(*routes, plane="external", **keys):
    made = [each if isinstance(each, Route) else route(each) for each in routes]
    return Table(made, plane, **keys)


def exchange(path="/", method="GET", *, host="localhost", headers=(), query=None, plane="external"):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query or "", "wsgi.url_scheme": "http"}
    made = Exchange(environ, plane)
    made.raw_path = made.path = path
    made.query = query
    made.host = host
    made.headers = [("Host", host), *headers]
    return made


def taken(table, path, method="GET", *, host="localhost", headers=()):
    """The id of the route that the request takes."""
    return table.find(path, method, host, list(headers)).id
