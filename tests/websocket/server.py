"""The origin of tests/proxy/websocket.rs and http2/websocket.rs: the `websockets` library as a server on a free port.

Sends back what it gets, fragment for fragment; the path says what else it does. Prints its port, and then how each
connection ended: the path and the code of the client's closing frame, or None. Ends with its standard input.
"""

import asyncio
import socket
import struct
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

MESSAGE_BYTES_MAX = 32 << 20


async def echo(connection):
    while True:
        fragments = connection.recv_streaming()
        await connection.send(fragments)


async def handle(connection):
    path = connection.request.path
    try:
        if path == "/speaks-first":
            await connection.send("welcome")
        elif path == "/closes":
            await connection.recv()
            await connection.close(4001, "that was all")
            return
        elif path == "/aborts":
            await connection.recv()
            # With a reset.
            linger = struct.pack("ii", 1, 0)
            connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.transport.abort()
            return
        elif path == "/pings":
            latency = await (await connection.ping(b"are you there"))
            await connection.send(f"pong after {latency >= 0}")
        await echo(connection)
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else None
        print(f"closed {path} {code}", flush=True)


def select(_, offered):
    """The first of ours that the client offers; none is no reason to refuse."""
    return next((ours for ours in ["chat.v2", "chat.v1"] if ours in offered), None)


async def main():
    async with serve(
        handle,
        "127.0.0.1",
        0,
        select_subprotocol=select,
        max_size=MESSAGE_BYTES_MAX,
        ping_interval=None,
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
