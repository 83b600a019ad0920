"""An origin of tests/proxy/http2/websocket.rs: PyPI's `hypercorn`, which takes HTTP/1.1 and HTTP/2 in clear text.

Sends back what it gets. Prints its port, and then, when a connection has ended, its version. Ends with its standard input.
"""

import asyncio
import socket
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config

MESSAGE_BYTES_MAX = 32 << 20


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
    print(f"closed HTTP/{scope['http_version']}", flush=True)


async def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.websocket_max_message_size = MESSAGE_BYTES_MAX
    config.errorlog = None
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await serve(app, config, shutdown_trigger=lambda: ended)


asyncio.run(main())
