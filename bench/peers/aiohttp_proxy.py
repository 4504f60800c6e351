"""A bare aiohttp + uvloop reverse proxy: one process, no feature. Usage: aiohttp_proxy.py PORT BACKEND_URL"""

import sys

import aiohttp
import uvloop
from aiohttp import web

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization"}


async def make(backend: str) -> web.Application:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )

    async def forward(request: web.Request) -> web.Response:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
        body = await request.read() if request.can_read_body else None
        async with session.request(
            request.method, backend + request.raw_path, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP]
            return web.Response(status=answer.status, headers=dict(kept), body=await answer.read())

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", forward)
    return application


if __name__ == "__main__":
    uvloop.install()
    web.run_app(make(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
