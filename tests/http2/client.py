"""The client of tests/proxy/http2/peers.rs: PyPI's `h2`, with many streams at once whose sizes, windows, padding and ends are
chosen by chance.

usage: client.py ADDRESS SEED [CA]
With CA over TLS, as app.test. The origin echoes bodies. Ends with 0 when every stream got its own body, else with a traceback.
"""

import random
import select
import socket
import ssl
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

STREAMS = 80
CANCEL = 8
DEADLINE = 30

chance = random.Random(int(sys.argv[2]))


def connect(address, authority):
    host, port = address.rsplit(":", 1)
    stream = socket.create_connection((host, int(port)), timeout=DEADLINE)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if authority:
        context = ssl.create_default_context(cafile=authority)
        context.set_alpn_protocols(["h2"])
        stream = context.wrap_socket(stream, server_hostname="app.test")
        assert stream.selected_alpn_protocol() == "h2"
    return stream


class Stream:
    """What is sent, what has come, and how it is to end."""

    def __init__(self):
        size = chance.choice([0, 1, 100, 16384, 16385, chance.randrange(120_000)])
        self.body = chance.randbytes(size)
        self.left = self.body
        self.method = chance.choice(["POST", "POST", "PUT", "GET"])
        self.has_length = chance.random() < 0.5
        self.has_trailers = chance.random() < 0.3
        # So much of it goes out before it is cancelled.
        self.cancelled_after = chance.randrange(size + 1) if chance.random() < 0.1 else None
        self.received = b""
        self.status = None
        self.is_over = False

    def head(self):
        fields = [(":method", self.method), (":scheme", "http"), (":authority", "app.test"), (":path", "/echo")]
        if self.has_length:
            fields.append(("content-length", str(len(self.body))))
        return fields + [("cookie", f"crumb{number}=x") for number in range(chance.randrange(4))]


class Client:
    def __init__(self, stream):
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        codes = h2.settings.SettingCodes
        values = {
            codes.INITIAL_WINDOW_SIZE: chance.choice([3000, 65535, 1 << 20]),
            codes.MAX_FRAME_SIZE: chance.choice([16384, 100_000]),
            codes.HEADER_TABLE_SIZE: chance.choice([0, 60, 4096, 65536]),
        }
        self.h2.initiate_connection()
        self.h2.update_settings(values)
        self.streams = {}
        # Received, and not yet given back.
        self.owed = []

    def run(self):
        end = time.monotonic() + DEADLINE
        self.flush()
        while not (len(self.streams) == STREAMS and all(stream.is_over for stream in self.streams.values())):
            assert time.monotonic() < end, f"not over: {[n for n, s in self.streams.items() if not s.is_over]}"
            if len(self.streams) < STREAMS and chance.random() < 0.5:
                self.open()
            self.send_some()
            self.give_back()
            self.flush()
            self.receive()
        self.h2.close_connection()
        self.flush()

    def open(self):
        stream, number = Stream(), self.h2.get_next_available_stream_id()
        ends = not stream.body and not stream.has_trailers and chance.random() < 0.5
        self.h2.send_headers(number, stream.head(), end_stream=ends)
        self.streams[number] = stream
        stream.left = None if ends else stream.left

    def send_some(self):
        numbers = [number for number, stream in self.streams.items() if stream.left is not None]
        for number in chance.sample(numbers, min(len(numbers), 8)):
            self.send(number, self.streams[number])

    def send(self, number, stream):
        cancelled = stream.cancelled_after
        if cancelled is not None and len(stream.body) - len(stream.left) >= cancelled:
            self.h2.reset_stream(number, CANCEL)
            stream.left, stream.is_over = None, True
            return
        padding = chance.choice([None, None, 0, 255])
        room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
        size = min(len(stream.left), room - 256, chance.choice([1, 1000, 50_000]))
        if size < 0 or (size == 0 and stream.left):
            return
        piece, rest = stream.left[:size], stream.left[size:]
        ends = not rest and not stream.has_trailers
        # An empty frame is of use only at the end.
        if piece or ends:
            self.h2.send_data(number, piece, end_stream=ends, pad_length=padding)
        stream.left = None if ends else rest
        if not rest and stream.has_trailers:
            self.h2.send_headers(number, [("x-sum", str(len(stream.body)))], end_stream=True)
            stream.left = None

    def give_back(self):
        chance.shuffle(self.owed)
        for _ in range(chance.randrange(len(self.owed) + 1)):
            self.h2.acknowledge_received_data(*self.owed.pop())

    def flush(self):
        self.stream.sendall(self.h2.data_to_send())

    def receive(self):
        pending = isinstance(self.stream, ssl.SSLSocket) and self.stream.pending()
        # What is owed may be what the other side waits for.
        if not pending and not select.select([self.stream], [], [], 0.002)[0]:
            return
        bytes_ = self.stream.recv(chance.choice([100, 65536]))
        assert bytes_, "the connection ended"
        for event in self.h2.receive_data(bytes_):
            self.take(event)

    def take(self, event):
        if isinstance(event, h2.events.ConnectionTerminated):
            raise AssertionError(f"GOAWAY {event.error_code} {event.additional_data}")
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ResponseReceived):
            stream.status = dict(event.headers)[":status"]
        elif isinstance(event, h2.events.DataReceived):
            stream.received += event.data
            self.owed.append((event.flow_controlled_length, event.stream_id))
        elif isinstance(event, h2.events.StreamReset) and event.error_code == 0 and stream.is_over:
            # RFC 9113 §8.1: it was answered before its end, for which this client takes its time.
            stream.left = None
        elif isinstance(event, h2.events.StreamReset):
            raise AssertionError(f"stream {event.stream_id} was reset with {event.error_code}")
        elif isinstance(event, h2.events.StreamEnded):
            assert (stream.status, stream.received) == ("200", stream.body), f"{stream.status} {len(stream.received)}"
            stream.is_over = True


Client(connect(sys.argv[1], *sys.argv[3:] or [None])).run()
