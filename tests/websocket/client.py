"""The client of tests/proxy/websocket.rs: the `websockets` library, one scenario a run.

usage: client.py ws://ADDRESS SCENARIO
Ends with 0 when everything was as it should be, else with a traceback.
"""

import asyncio
import os
import socket
import sys
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

MESSAGE_BYTES_MAX = 32 << 20
DEADLINE = 30


def open_at(url, path="/", **options):
    return connect(url + path, max_size=MESSAGE_BYTES_MAX, ping_interval=None, **options)


async def small(url):
    async with open_at(url) as connection:
        for message in ["", "hello", "h\u00e9llo \u2603", b"", b"\x00\xff\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"]:
            await connection.send(message)
            assert await connection.recv() == message


async def sizes(url):
    """Around each border of the framing's length fields."""
    async with open_at(url, compression=None) as connection:
        for size in [1, 125, 126, 127, 65535, 65536, 65537, 1 << 20]:
            message = os.urandom(size)
            await connection.send(message)
            assert await connection.recv() == message


async def fragmented(url):
    async with open_at(url, compression=None) as connection:
        fragments = [os.urandom(size) for size in [1, 0, 70_000, 3, 125, 126]]
        await connection.send(fragments)
        got = [fragment async for fragment in connection.recv_streaming()]
        assert b"".join(got) == b"".join(fragments)
        assert len(got) >= len(fragments), f"{len(got)} fragments of {len(fragments)}"
        # A ping may stand between the fragments of a message.
        async def with_ping():
            yield "first "
            await connection.ping()
            yield "second"

        await connection.send(with_ping())
        assert await connection.recv() == "first second"


async def large(url):
    async with open_at(url, compression=None) as connection:
        message = os.urandom(16 << 20)
        await connection.send(message)
        assert await connection.recv() == message


async def large_compressed(url):
    async with open_at(url) as connection:
        message = "corelane " * (2 << 20)
        await connection.send(message)
        assert await connection.recv() == message


async def ping(url):
    async with open_at(url) as connection:
        for payload in [b"", b"x", b"y" * 125]:
            assert await (await connection.ping(payload)) >= 0
        await connection.pong(b"unasked")
        await connection.send("after")
        assert await connection.recv() == "after"
    async with open_at(url, "/pings") as connection:
        assert await connection.recv() == "pong after True"


async def speaks_first(url):
    async with open_at(url, "/speaks-first") as connection:
        assert await connection.recv() == "welcome"
        await connection.send("thanks")
        assert await connection.recv() == "thanks"


async def early(url):
    """Frames in one write with the handshake, before any answer to it."""
    where = urlsplit(url)
    protocol = ClientProtocol(parse_uri(url + "/"))
    protocol.send_request(protocol.connect())
    frames = b"".join(
        Frame(Opcode.TEXT, text.encode()).serialize(mask=True) for text in ["one", "two", "three"]
    )
    with socket.create_connection((where.hostname, where.port), timeout=DEADLINE) as stream:
        stream.sendall(b"".join(protocol.data_to_send()) + frames)
        texts = []
        while len(texts) < 3:
            protocol.receive_data(stream.recv(65536))
            assert protocol.handshake_exc is None, protocol.handshake_exc
            # The first event is the response; an echoed message may end with an empty fragment.
            events = [event for event in protocol.events_received() if isinstance(event, Frame)]
            texts += [bytes(frame.data) for frame in events if frame.data]
        assert texts == [b"one", b"two", b"three"], texts


async def closed_by_client(url):
    connection = await open_at(url)
    await connection.send("hello")
    assert await connection.recv() == "hello"
    await connection.close(1001, "leaving")
    assert (connection.close_code, connection.close_reason) == (1001, "leaving"), connection.close_code


async def closed_by_server(url):
    async with open_at(url, "/closes") as connection:
        await connection.send("go on")
        try:
            await connection.recv()
            raise AssertionError("it is not closed")
        except ConnectionClosedError as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "that was all"), closed


async def lost(url):
    """A connection that ends without a closing handshake is no good end for the other side."""
    connection = await open_at(url)
    await connection.send("hello")
    assert await connection.recv() == "hello"
    connection.transport.abort()
    try:
        await connection.recv()
        raise AssertionError("it is not closed")
    except ConnectionClosedError:
        pass
    except ConnectionClosedOK as closed:
        raise AssertionError("a good end") from closed


async def subprotocol(url):
    for offered, chosen in [
        (["chat.v1"], "chat.v1"),
        (["chat.v1", "chat.v2"], "chat.v2"),
        (["other", "chat.v1"], "chat.v1"),
        (None, None),
    ]:
        async with open_at(url, subprotocols=offered) as connection:
            assert connection.subprotocol == chosen, (offered, connection.subprotocol)
            await connection.send("hello")
            assert await connection.recv() == "hello"


async def many(url, connections=200, rounds=20):
    opened, everyone = 0, asyncio.Event()

    async def one(index):
        nonlocal opened
        async with open_at(url, open_timeout=DEADLINE) as connection:
            opened += 1
            if opened == connections:
                everyone.set()
            # All are open at once.
            await everyone.wait()
            for number in range(rounds):
                message = f"{index} {number} " + "x" * (index * number)
                await connection.send(message)
                assert await connection.recv() == message

    await asyncio.gather(*(one(index) for index in range(connections)))
    print(f"{connections} connections, {connections * rounds} messages each way")


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in [
        small, sizes, fragmented, large, large_compressed, ping, speaks_first, early, closed_by_client,
        closed_by_server, lost, subprotocol, many,
    ]
}  # fmt: skip

asyncio.run(asyncio.wait_for(SCENARIOS[sys.argv[2]](sys.argv[1]), DEADLINE))
