"""The lower bound of bench/serve.py: a reverse proxy of aiohttp that only copies bytes.

    python serve_proxy.py UPSTREAM PORT

It forwards every request to UPSTREAM, and each piece of a response as it arrives, until its
standard input ends or it is terminated.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from aiohttp import web

KEPT = ("Content-Type",)


async def main() -> None:
    """Serve until the process is terminated."""
    upstream, port = sys.argv[1].rstrip("/"), int(sys.argv[2])
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )

    async def forward(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        headers = {name: request.headers[name] for name in KEPT if name in request.headers}
        async with session.request(
            request.method, upstream + request.path, data=body, headers=headers
        ) as reply:
            passed = {name: reply.headers[name] for name in KEPT if name in reply.headers}
            if "Content-Length" in reply.headers:
                return web.Response(body=await reply.read(), status=reply.status, headers=passed)
            response = web.StreamResponse(status=reply.status, headers=passed)
            await response.prepare(request)
            async for piece in reply.content.iter_any():
                await response.write(piece)
            return response

    runner = web.ServerRunner(web.Server(forward, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    try:
        await asyncio.Event().wait()
    finally:
        await session.close()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
