"""What a forked process would otherwise do again and again. Told in a process of its own: nothing is undone here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT

CHILD = """
import json, sys
from pathlib import Path
import gateway.server.launch, gateway.wsgi  # as gunicorn has them before it forks
from gateway.config.examine import examine
from gateway.config.shape import shape_of
from gateway.server.preload import preload
from gateway.state.control import Runtime

preload()
modules, derived = set(sys.modules), shape_of.cache_info().misses
config = examine(Path(sys.argv[1]))
newly_derived = shape_of.cache_info().misses - derived
gateway.wsgi.app.start(config, Runtime.alone(config.origin))
gateway.wsgi.app.stop()
imported = [name for name in set(sys.modules) - modules if name.startswith("gateway.")]
print(json.dumps([newly_derived, imported]))
"""


@pytest.fixture(scope="module")
def done_again(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[str]]:
    """Shapes derived and modules of ours imported after `preload`, by an examination and a worker's start."""
    path: Path = tmp_path_factory.mktemp("preload") / "gateway.yaml"
    path.write_text(
        "version: 1\n"
        "state: {engine: memory}\n"
        "services: {echo: {balancer: random_two, instances: [{id: a, url: 'http://127.0.0.1:9'}]}}\n"
        "routes: [{id: all, path: '/*', service: echo}]\n"
    )
    run = subprocess.run([sys.executable, "-c", CHILD, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    newly_derived, imported = json.loads(run.stdout)
    return newly_derived, imported


def test_an_examination_derives_no_shape_of_the_model(done_again):
    assert done_again[0] == 0


def test_a_worker_imports_only_its_state_engine(done_again):
    assert [name for name in done_again[1] if not name.startswith("gateway.state.engines.")] == []
