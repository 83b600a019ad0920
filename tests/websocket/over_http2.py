"""The client of tests/proxy/http2/websocket.rs: WebSocket over HTTP/2 (RFC 8441), by PyPI's `h2` and `wsproto`.

usage: over_http2.py ADDRESS SCENARIO
Ends with 0 when everything was as it should be, else with a traceback.
"""

import asyncio
import os
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

DEADLINE = 30
CANCEL = 8

# RFC 9113 §6.8: what is open goes on behind a GOAWAY; to this library all is over.
MACHINE = h2.connection.H2ConnectionStateMachine
OPEN = h2.connection.ConnectionState.CLIENT_OPEN
MACHINE._transitions[OPEN, h2.connection.ConnectionInputs.RECV_GOAWAY] = (None, OPEN)


class Http2:
    """One connection; its streams get what comes for them."""

    @classmethod
    async def open(cls, address):
        self = cls()
        host, port = address.rsplit(":", 1)
        self.address = address
        self.reader, self.writer = await asyncio.open_connection(host, port)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.streams, self.settings, self.room, self.goaway = {}, asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.flush()
        self.task = asyncio.create_task(self.receive())
        await self.settings.wait()
        assert self.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL) == 1
        return self

    def flush(self):
        self.writer.write(self.h2.data_to_send())

    async def receive(self):
        while bytes_ := await self.reader.read(65536):
            for event in self.h2.receive_data(bytes_):
                if isinstance(event, h2.events.RemoteSettingsChanged):
                    self.settings.set()
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self.goaway.set()
                elif isinstance(event, h2.events.DataReceived):
                    # What is read late is given back late.
                    self.streams[event.stream_id].put_nowait(event)
                elif getattr(event, "stream_id", None) in self.streams:
                    self.streams[event.stream_id].put_nowait(event)
                self.room.set()
            self.flush()
        for stream in self.streams.values():
            stream.put_nowait(None)

    def request(self, fields, end_stream):
        stream = self.h2.get_next_available_stream_id()
        self.streams[stream] = asyncio.Queue()
        self.h2.send_headers(stream, fields, end_stream=end_stream)
        self.flush()
        return stream

    async def next_event(self, stream, *kinds):
        """The next event of one of these kinds, with what DATA has brought given back to the windows."""
        while True:
            event = await self.streams[stream].get()
            assert event is not None, "the connection has ended"
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                self.flush()
            if isinstance(event, kinds):
                return event

    async def get(self, path):
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", self.address), (":path", path)]
        stream = self.request(fields, end_stream=True)
        head = await self.next_event(stream, h2.events.ResponseReceived)
        await self.next_event(stream, h2.events.StreamEnded)
        return dict(head.headers)[":status"]

    async def connect(self, path="/", protocol="websocket", fields=()):
        fields = [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "http"),
            (":authority", self.address),
            (":path", path),
            ("sec-websocket-version", "13"),
            *fields,
        ]
        stream = self.request(fields, end_stream=False)
        head = await self.next_event(stream, h2.events.ResponseReceived)
        return WebSocket(self, stream, dict(head.headers))

    async def close(self):
        self.task.cancel()
        self.writer.close()


class WebSocket:
    def __init__(self, connection, stream, head):
        self.connection, self.stream, self.head = connection, stream, head
        self.frames, self.parts = Frames(ConnectionType.CLIENT), []
        assert not {"upgrade", "connection", "sec-websocket-accept", "transfer-encoding"} & head.keys(), head

    async def send_bytes(self, data):
        h2_ = self.connection.h2
        while data:
            size = min(h2_.local_flow_control_window(self.stream), h2_.max_outbound_frame_size, len(data))
            if size == 0:
                self.connection.room.clear()
                await self.connection.room.wait()
                continue
            h2_.send_data(self.stream, data[:size])
            data = data[size:]
            self.connection.flush()
            await self.connection.writer.drain()

    async def send(self, event):
        await self.send_bytes(self.frames.send(event))

    async def send_message(self, data):
        await self.send(TextMessage(data) if isinstance(data, str) else BytesMessage(data))

    async def next(self):
        """The next frame that is no part of a message, or the next message."""
        while True:
            for event in self.frames.events():
                if not isinstance(event, (TextMessage, BytesMessage)):
                    return event
                self.parts.append(event.data)
                if event.message_finished:
                    whole, self.parts = self.parts[0][:0].join(self.parts), []
                    return whole
            event = await self.connection.next_event(self.stream, h2.events.DataReceived, h2.events.StreamEnded, h2.events.StreamReset)
            if isinstance(event, h2.events.StreamReset):
                return ("reset", event.error_code)
            if isinstance(event, h2.events.StreamEnded):
                return "end"
            if event.data:
                self.frames.receive_data(event.data)

    async def echo(self, data):
        await self.send_message(data)
        got = await self.next()
        assert got == data, (got[:80], data[:80])

    async def end(self):
        self.connection.h2.end_stream(self.stream)
        self.connection.flush()


async def opened(address, path="/", fields=()):
    socket = await (await Http2.open(address)).connect(path, fields=fields)
    assert socket.head[":status"] == "200", socket.head
    return socket


async def messages(address):
    """1000 each way, and each kind of frame."""
    socket = await opened(address)
    for number in range(1000):
        await socket.echo(f"{number} " + "x" * (number % 300))
    for size in [1, 125, 126, 127, 65535, 65536, 65537, 1 << 20]:
        await socket.echo(os.urandom(size))
    for payload in [b"", b"x", b"y" * 125]:
        await socket.send(Ping(payload))
        assert await socket.next() == Pong(payload)
    await socket.send(CloseConnection(1001, "leaving"))
    assert (await socket.next()).code == 1001
    return socket


async def closed(address):
    """With the closing handshake, behind which the server ends its side."""
    socket = await messages(address)
    assert await socket.next() == "end"
    await socket.end()


async def server_ends(address):
    connection = await Http2.open(address)
    socket = await connection.connect("/speaks-first")
    assert await socket.next() == "welcome"
    await socket.echo("thanks")
    socket = await connection.connect("/closes")
    await socket.send_message("go on")
    close = await socket.next()
    assert (close.code, close.reason) == (4001, "that was all"), close
    await socket.send(close.response())
    assert await socket.next() == "end"
    socket = await connection.connect("/aborts")
    await socket.send_message("go on")
    assert await socket.next() == ("reset", CANCEL)
    assert await connection.get("/") == "426"


async def lost(address):
    """A reset of the stream, and one of the connection: both are no good end for the server."""
    socket = await opened(address)
    await socket.echo("hello")
    socket.connection.h2.reset_stream(socket.stream, CANCEL)
    socket.connection.flush()
    # The connection goes on.
    other = await socket.connection.connect()
    await other.echo("hello")
    other.connection.writer.transport.abort()


async def half_closed(address):
    """The end of the client's side is the server's to answer."""
    socket = await opened(address)
    await socket.send_message("before the end")
    await socket.end()
    assert await socket.next() == "before the end"
    assert await socket.next() == "end"


async def subprotocol(address):
    for offered, chosen in [("chat.v1", "chat.v1"), ("chat.v1, chat.v2", "chat.v2"), ("other", None)]:
        socket = await opened(address, fields=[("sec-websocket-protocol", offered)])
        assert socket.head.get("sec-websocket-protocol") == chosen, socket.head
        await socket.echo("hello")


async def many(address, sockets=90, rounds=20):
    """On one connection, with ordinary requests beside them."""
    connection = await Http2.open(address)

    async def one(index):
        socket = await connection.connect()
        for number in range(rounds):
            await socket.echo(f"{index} {number} " + "x" * (index * number))
        await socket.send(CloseConnection(1000))
        assert (await socket.next()).code == 1000

    async def beside():
        for _ in range(rounds):
            assert await connection.get("/") == "426"

    await asyncio.gather(*(one(index) for index in range(sockets)), beside())


async def refused(address):
    """By the status that stands in the path."""
    connection = await Http2.open(address)
    for path, protocol, expected in PATHS:
        socket = await connection.connect(path, protocol)
        assert socket.head[":status"] == expected, (path, socket.head)
        await connection.next_event(socket.stream, h2.events.StreamEnded)


PATHS = [tuple(path.split(",")) for path in sys.argv[3:]]


async def held(address):
    """Says each line of its input to the server, and what comes back to its output."""
    socket = await opened(address)
    await socket.echo("hello")
    print("open", flush=True)
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        await socket.echo(line)
        print(line, flush=True)
    await asyncio.wait_for(socket.connection.goaway.wait(), DEADLINE)
    await socket.send(CloseConnection(1000))
    assert (await socket.next()).code == 1000


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in [messages, closed, server_ends, lost, half_closed, subprotocol, many, refused, held]
}

asyncio.run(asyncio.wait_for(SCENARIOS[sys.argv[2]](sys.argv[1]), DEADLINE))
