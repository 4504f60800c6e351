"""gunicorn.conf.py for a gateway that is installed: `gunicorn -c python:gateway.server.gunicorn_conf gateway.wsgi:app`.

Importing it reads and examines the configuration that GATEWAY_CONFIG names.
"""

from __future__ import annotations

from gateway.server import launch

globals().update(launch.settings())
