"""`gunicorn gateway.wsgi:app` here serves what GATEWAY_CONFIG names, or conf/gateway.yaml: binds, workers and all."""

from gateway.server import launch

globals().update(launch.settings())
