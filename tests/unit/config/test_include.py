from __future__ import annotations

from pathlib import Path

import pytest

from .support import config_of, problem_of, problems_of, write

MAIN = """\
version: 1
include: [routes.d/*.yaml]
services: {echo: {}}
routes:
  - {id: main, path: /main, service: echo}
"""


def test_lists_are_joined_in_the_order_of_names_and_sections_by_key(tmp_path: Path):
    write(tmp_path, "routes: [{id: b, path: /b, service: more}]\nservices: {more: {}}", "routes.d/b.yaml")
    write(tmp_path, "version: 1\nroutes: [{id: a, path: /a, service: echo}]\nserver: {threads: 7}", "routes.d/a.yaml")
    write(tmp_path, "nonsense: 1", "routes.d/.hidden.yaml")
    config = config_of(tmp_path, MAIN)
    assert [route.id for route in config.routes] == ["main", "a", "b"]
    assert list(config.services) == ["echo", "more"]
    assert config.server.threads == 7


def test_required_keys_may_stand_in_any_file(tmp_path: Path):
    write(tmp_path, "services: {}\nroutes: []", "rest.yaml")
    assert config_of(tmp_path, "version: 1\ninclude: [rest.yaml]").routes == ()


def test_a_pattern_without_a_match_is_no_error_but_a_name_is(tmp_path: Path):
    config_of(tmp_path, MAIN)
    problem = problem_of(tmp_path, MAIN.replace("*", "one"))
    assert (problem.line, problem.path, problem.found) == (2, "include[0]", '"routes.d/one.yaml"')
    assert problem.why == "there is no such file"


def test_a_file_is_read_once_and_the_main_one_is_not_its_own(tmp_path: Path):
    write(tmp_path, "routes: [{id: a, path: /a, service: echo}]", "routes.d/a.yaml")
    text = MAIN.replace("[routes.d/*.yaml]", "['*.yaml', routes.d/*.yaml, routes.d/a.yaml]")
    assert len(config_of(tmp_path, text).routes) == 2


@pytest.mark.parametrize(
    ("included", "line", "path"),
    [
        ("services: {other: {}, echo: {}}", 1, "services.echo"),
        ("server: {threads: 1}\nlogging:\n  level: info", 3, "logging.level"),
        ("setup: a:b", 1, "setup"),
        ("routes: {}", 1, "routes"),
        ("services: []", 1, "services"),
    ],
)
def test_what_two_files_define_is_told_with_both_places(tmp_path: Path, included: str, line: int, path: str):
    write(tmp_path, included, "routes.d/a.yaml")
    problem = problem_of(tmp_path, MAIN + "logging: {level: debug}\nsetup: c:d\n")
    assert (problem.file, problem.line, problem.path) == (str(tmp_path / "routes.d/a.yaml"), line, path)
    first = {"services": 3, "services.echo": 3, "routes": 5, "logging.level": 6, "setup": 7}[path]
    assert problem.why == f"defined twice; the first is in {tmp_path / 'gateway.yaml'}:{first}"


def test_problems_name_the_file_and_count_lists_as_that_file_does(tmp_path: Path):
    write(
        tmp_path,
        "routes:\n  - {id: a, path: /a, service: echo}\n  - {id: main, path: x, service: no}",
        "routes.d/a.yaml",
    )
    file = str(tmp_path / "routes.d/a.yaml")
    problems = problems_of(tmp_path, MAIN)
    assert [(one.file, one.line, one.path) for one in problems] == [
        (file, 3, "routes[1].id"), (file, 3, "routes[1].path"), (file, 3, "routes[1].service"),
    ]  # fmt: skip
    assert f"{tmp_path / 'gateway.yaml'}:5" in problems[0].why


@pytest.mark.parametrize(
    ("included", "line", "path", "why"),
    [
        ("include: [x.yaml]", 1, "include", "only the main file includes others"),
        ("version: 2", 1, "version", "wrong version"),
        ("", 1, "", "the file is empty"),
        ("- a", 1, "", "the file is no mapping"),
        ("routes: [", 1, "", "not YAML"),
        ("a: 1\na: 2", 1, "a", "unknown key"),
    ],
)
def test_included_files_are_examined_like_the_main_one(tmp_path: Path, included: str, line: int, path: str, why: str):
    write(tmp_path, included, "routes.d/a.yaml")
    problem = problems_of(tmp_path, MAIN)[0]
    assert problem.file == str(tmp_path / "routes.d/a.yaml")
    assert problem.line == pytest.approx(line, abs=1)
    assert problem.path.startswith(path)
    assert why in problem.why


def test_problems_of_all_files_come_at_once(tmp_path: Path):
    write(tmp_path, "routes: [", "routes.d/a.yaml")
    write(tmp_path, "services: {x: {expose: 1}}", "routes.d/b.yaml")
    problems = problems_of(tmp_path, MAIN + "server: {threads: many}")
    assert [Path(one.file).name for one in problems] == ["gateway.yaml", "a.yaml", "b.yaml"]


def test_a_folder_or_a_strange_name_is_told(tmp_path: Path):
    (tmp_path / "routes.d/a.yaml").mkdir(parents=True)
    assert "it is a folder" in problem_of(tmp_path, MAIN).why
    assert problem_of(tmp_path, MAIN.replace("[routes.d/*.yaml]", '["a\\0b"]')).path == "include[0]"


def test_more_files_than_anyone_means_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.config.include.MOST_FILES", 2)
    for name in "abc":
        write(tmp_path, "discovery: []", f"routes.d/{name}.yaml")
    assert problem_of(tmp_path, MAIN).why == "more than 2 files"


def test_defaults_of_an_included_file_lie_under_services_too(tmp_path: Path):
    write(tmp_path, "defaults: {timeouts: {connect: 9s}}", "routes.d/a.yaml")
    assert config_of(tmp_path, MAIN).services["echo"].timeouts.connect == 9.0
