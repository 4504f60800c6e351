"""The home-made proxy: Flask and requests under gunicorn's gthread. BACKEND is in the environment."""

import os

import requests
from flask import Flask, Response, request

app = Flask(__name__)
BACKEND = os.environ["BACKEND"]
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}


@app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "DELETE"])
@app.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE"])
def forward(path: str) -> Response:
    answer = requests.request(
        request.method,
        f"{BACKEND}/{path}",
        params=request.args,
        headers={name: value for name, value in request.headers if name.lower() != "host"},
        data=request.get_data(),
        allow_redirects=False,
        timeout=30,
    )
    kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP]
    return Response(answer.content, answer.status_code, kept)
