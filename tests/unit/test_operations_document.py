"""docs/operations.md and the code name the same things."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from gateway import errors
from gateway.admin.metrics import gauges
from gateway.clock import SystemClock
from gateway.config.model import Logging
from gateway.exchange import Exchange
from gateway.telemetry.access import AccessLog
from tests.unit.admin.support import Site

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text()
CODE = "\n".join(path.read_text() for path in sorted((ROOT / "gateway").rglob("*.py")))


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def test_every_key_of_the_access_line_is_explained_in_its_order():
    lines: list[str] = []
    exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
    AccessLog(Logging(), lines.append, SystemClock()).write(exchange, 200, None, 0, 0.0)
    keys = [key for key in json.loads(lines[0]) if key != "event"]
    rows = re.findall(r"^\| (`.*?) \|", section("Logs").partition("| event |")[0], re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == keys


def test_every_event_and_metric_that_is_named_exists():
    events = re.findall(r"^\| (`.*?) \|", section("Logs").partition("| event |")[2], re.MULTILINE)
    for name in re.findall(r"`(\w+)`", " ".join(events)):
        assert f'"{name}"' in CODE, name
    for name in set(re.findall(r"gateway_[a-z_]+", DOCUMENT)):
        assert f'"{name.removesuffix("_total")}"' in CODE, name


def test_every_metric_is_named():
    for gauge in gauges(Site().api):
        assert f"`{gauge.name}" in section("Metrics")


def test_every_reason_that_is_named_is_in_the_catalogue():
    known = {kind.reason for kind in errors.catalogue()}
    linked = re.findall(r"\[`(\w+)`\]\(errors\.md", section("Troubleshooting"))
    alerted = re.findall(r"reason=~?'([^']*)'", section("Metrics"))
    assert len(linked) > 10
    for pattern in [*linked, *alerted]:
        assert any(re.fullmatch(pattern, reason) for reason in known), pattern


def test_every_link_leads_somewhere():
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", DOCUMENT):
        path = ROOT / "docs" / target if target else ROOT / "docs" / "operations.md"
        assert path.exists() or path.name in {"performance.md", "state.md"}, target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}, anchor


def test_the_alerts_are_yaml():
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", DOCUMENT, re.DOTALL)
    rules = yaml.safe_load(block)["groups"][0]["rules"]
    assert all({"alert", "expr"} <= rule.keys() for rule in rules)
