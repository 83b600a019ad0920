"""An origin of tests/proxy/http2/websocket.rs: WebSocket over HTTP/2 in clear text (RFC 8441), by PyPI's `h2` and `wsproto`.

Sends back what it gets; the path says what else it does. Prints its port, and then how each stream ended: the path and the code
of the client's closing frame, or None. Ends with its standard input.
"""

import asyncio
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

CANCEL = 8


class Stream:
    def __init__(self, path):
        self.path, self.frames, self.code = path, Frames(ConnectionType.SERVER), None
        self.out, self.is_ended = b"", False

    def receive(self, data):
        """Takes what the client has sent, and puts the answer into `out`."""
        self.frames.receive_data(data)
        for event in self.frames.events():
            if isinstance(event, CloseConnection):
                self.code = event.code
                if not self.is_ended:
                    self.out += self.frames.send(event.response())
                self.is_ended = True
            elif isinstance(event, Ping):
                self.out += self.frames.send(event.response())
            elif self.path == "/closes":
                self.out += self.frames.send(CloseConnection(4001, "that was all"))
                self.is_ended = True
            elif isinstance(event, (TextMessage, BytesMessage)):
                # Fragment for fragment.
                self.out += self.frames.send(event)


class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.streams = transport, {}
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        settings = {h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=settings)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data):
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.open(event.stream_id, dict(event.headers))
            elif isinstance(event, h2.events.DataReceived):
                if event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.data and event.stream_id in self.streams:
                    self.take(event.stream_id, event.data)
            elif isinstance(event, h2.events.StreamEnded) and event.stream_id in self.streams:
                self.streams[event.stream_id].is_ended = True
            elif isinstance(event, h2.events.StreamReset):
                self.end(event.stream_id)
        for stream in list(self.streams):
            self.send(stream)
        self.flush()

    def connection_lost(self, _):
        for stream in list(self.streams):
            self.end(stream)

    def open(self, stream, head):
        if head.get(":protocol") != "websocket" or head[":path"] == "/forbidden":
            status = "403" if ":protocol" in head else "426"
            return self.h2.send_headers(stream, [(":status", status)], end_stream=True)
        # RFC 8441 §5.
        assert head[":method"] == "CONNECT" and head["sec-websocket-version"] == "13", head
        assert not {"sec-websocket-key", "upgrade", "connection"} & head.keys(), head
        offered = head.get("sec-websocket-protocol", "").split(", ")
        chosen = [("sec-websocket-protocol", ours) for ours in ["chat.v2", "chat.v1"] if ours in offered]
        self.h2.send_headers(stream, [(":status", "200"), *chosen[:1]])
        self.streams[stream] = Stream(head[":path"])
        if head[":path"] == "/speaks-first":
            self.streams[stream].out = self.streams[stream].frames.send(TextMessage("welcome"))

    def take(self, stream, data):
        if self.streams[stream].path == "/aborts":
            self.h2.reset_stream(stream, CANCEL)
            return self.end(stream)
        self.streams[stream].receive(data)

    def send(self, stream):
        state = self.streams[stream]
        while state.out:
            size = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(state.out))
            if size == 0:
                return
            self.h2.send_data(stream, state.out[:size])
            state.out = state.out[size:]
        if state.is_ended:
            self.h2.end_stream(stream)
            self.end(stream)

    def end(self, stream):
        if state := self.streams.pop(stream, None):
            print(f"closed {state.path} {state.code}", flush=True)

    def flush(self):
        self.transport.write(self.h2.data_to_send())


async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
