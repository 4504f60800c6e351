from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import schema as module
from gateway.config.schema import schema, text

SHIPPED = Path(module.__file__).with_name("schema.json")
CONF = Path(__file__).parents[3] / "conf"


def test_the_shipped_file_is_what_is_generated():
    made = "python -m gateway.config.schema > gateway/config/schema.json"
    assert SHIPPED.read_text(encoding="utf-8") == text(schema()), f"make it anew: {made}"


def test_shipped_configurations_name_it_in_their_first_line():
    for path in [*CONF.glob("*.yaml"), *CONF.glob("examples/*.yaml")]:
        found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text(encoding="utf-8"))
        assert found, path
        assert (path.parent / found[1]).resolve() == SHIPPED


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item)


def test_every_reference_leads_somewhere_and_every_pattern_compiles():
    whole = json.loads(SHIPPED.read_text(encoding="utf-8"))
    for one in objects(whole):
        if "$ref" in one:
            assert one["$ref"].removeprefix("#/$defs/") in whole["$defs"]
        if isinstance(one.get("pattern"), str):
            re.compile(one["pattern"])


def test_unknown_keys_are_refused_and_every_key_is_described():
    whole = schema()
    for one in (whole, *whole["$defs"].values()):
        if "properties" in one:
            assert one["additionalProperties"] is False
            assert all(described["description"] for described in one["properties"].values())


def definition(name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema()["$defs"][name]
    return found


def test_what_keys_are_required():
    assert schema()["required"] == ["version"]
    assert schema()["then"] == {"required": ["version", "services", "routes"]}
    assert definition("Route")["required"] == ["id", "path"]
    assert definition("Instance")["required"] == ["id", "url"]
    assert "required" not in definition("Listener")  # each of the two has a bind by default
    assert "required" not in definition("TimeoutsOverrides")


@pytest.mark.parametrize(
    ("section", "key", "default"),
    [
        ("Server", "keepalive", "75s"),
        ("State", "path", "var/state"),
        ("Logging", "sample", "100%"),
        ("Server", "workers", None),
    ],
)
def test_defaults_are_spelled_as_in_the_file(section: str, key: str, default: Any):
    assert definition(section)["properties"][key]["default"] == default


def test_numbers_have_bounds_and_may_be_substituted():
    threads = definition("Server")["properties"]["threads"]
    assert threads["anyOf"] == [{"type": "integer", "minimum": 1, "maximum": 4096}, {"$ref": "#/$defs/substituted"}]


def test_what_is_not_built_is_told():
    assert definition("Service")["properties"]["grpc"]["description"].endswith("Not built yet.")
