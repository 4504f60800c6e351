from __future__ import annotations

import json

from gateway.config.problems import ConfigErrors, Problem, render_path, shown_key, shown_text
from gateway.config.render import render_json, render_text

WRONG = Problem(
    file="conf/gateway.yaml",
    line=4,
    column=12,
    path="server.threads",
    why="wrong type",
    found='"many"',
    allowed="a number",
    likely="4",
)
PLAIN = Problem(file="conf/gateway.yaml", why="the file is empty")


def test_one_line_a_problem():
    assert render_text([WRONG, PLAIN]) == (
        'conf/gateway.yaml:4:12: server.threads: wrong type; found "many"; allowed: a number (did you mean 4?)\n'
        "conf/gateway.yaml:1:1: the file is empty"
    )
    assert str(ConfigErrors([WRONG, PLAIN])) == render_text([WRONG, PLAIN])


def test_json_for_editors():
    told = json.loads(render_json([WRONG], [PLAIN]))
    assert told["ok"] is False
    (error,) = told["errors"]
    assert error == {
        "file": "conf/gateway.yaml",
        "line": 4,
        "column": 12,
        "path": "server.threads",
        "why": "wrong type",
        "found": '"many"',
        "allowed": "a number",
        "likely": "4",
        "message": 'wrong type; found "many"; allowed: a number (did you mean 4?)',
    }
    assert told["warnings"][0]["message"] == "the file is empty"
    assert json.loads(render_json([]))["ok"] is True


def test_errors_are_a_collection():
    errors = ConfigErrors([WRONG, PLAIN])
    assert list(errors) == [WRONG, PLAIN]
    assert len(errors) == 2


def test_paths():
    assert render_path(()) == ""
    assert render_path(("services", "echo", "instances", 0, "weight")) == "services.echo.instances[0].weight"
    assert render_path(("services", "a.b", "tls")) == 'services["a.b"].tls'


def test_keys_are_cut_where_they_stop_to_look_like_names():
    assert shown_key("max_request_body") == "max_request_body"
    assert shown_key("token:hunter2") == "token…"
    assert shown_key("a\x1b[31m") == "a…"
    assert len(shown_key("a" * 1000)) == 129


def test_texts_are_short_and_on_one_line():
    assert shown_text("a\n\x07ä") == '"a\\n\\x07ä"'
    assert len(shown_text("\n" * 1000)) < 130
