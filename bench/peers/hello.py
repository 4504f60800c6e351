"""gunicorn's floor: the smallest WSGI application, with the body that the backend sends."""

BODY = b"x" * 84


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "84")])
    return [BODY]
