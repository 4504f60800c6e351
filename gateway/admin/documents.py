"""JSON documents that come in: of the right type, short, whole, and with one meaning."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from gateway.errors import BodyTooLarge, ClientGone, InvalidBody, WrongContentType
from gateway.exchange import Exchange

MAX_SIZE = 64 * 1024  # bytes


def receive(exchange: Exchange) -> Any:
    """The document that the request's body holds.

    Raises WrongContentType, BodyTooLarge (`MAX_SIZE`), ClientGone, or InvalidBody naming the place in the text.
    """
    content_type = exchange.environ.get("CONTENT_TYPE") or ""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise WrongContentType(f"Content-Type is {content_type[:80]!a}" if content_type else "there is no Content-Type")
    return parse(_read(exchange))


def _read(exchange: Exchange) -> bytes:
    length, body = exchange.content_length, exchange.body
    if body is None:
        raise InvalidBody("the body is missing: the call takes a JSON object")
    if length is not None and length > MAX_SIZE:
        raise BodyTooLarge(f"the body is {length} bytes long, the admin API takes {MAX_SIZE}")
    data = body.read(MAX_SIZE + 1 if length is None else length)
    exchange.bytes_in += len(data)
    if len(data) > MAX_SIZE:
        raise BodyTooLarge(f"the body is longer than the {MAX_SIZE} bytes that the admin API takes")
    if length is not None and len(data) < length:
        raise ClientGone  # a server that reads on for us gives short data when the client leaves
    return data


def parse(data: bytes) -> Any:
    """The value of a JSON text (RFC 8259). InvalidBody: not UTF-8, not JSON, a member given twice, NaN or Infinity."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_members, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InvalidBody(f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        raise InvalidBody(f"the body is not JSON at line {error.lineno}, column {error.colno}: {what}") from None
    except RecursionError:
        raise InvalidBody("the body is nested too deeply") from None
    except ValueError:  # what int() refuses to convert
        raise InvalidBody("the body holds a number that is too long") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidBody(f"the member {twice[:60]!a} is there twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise InvalidBody(f"{text} is not JSON")
