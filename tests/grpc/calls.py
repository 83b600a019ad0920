"""Calls of all kinds with PyPI's grpcio, for tests/proxy/http2/grpc_calls.rs: through Corelane to echo.py.

usage: calls.py ADDRESS AUTHORITY CASE...

With the certificate of an authority it speaks TLS; without one AUTHORITY is empty. Each case is a function of this file; what is not as it should be is an
exception.
"""

import asyncio
import os
import queue
import random
import sys
import time

import grpc

SERVICE = "/test.Echo/"


def ended(call):
    """The status and the message of a call that fails."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError("the call succeeded")


def unary(channel):
    method = channel.unary_unary(SERVICE + "Unary")
    for size in [0, 1, 100, 16_384, 70_000, 1_000_000]:
        message = os.urandom(size)
        assert method(message, timeout=10) == message, size
    fields = [("x-test-a", "one"), ("x-test-a", "two"), ("x-test-b-bin", b"\0\xffbytes")]
    answer, call = method.with_call(b"x", metadata=fields, timeout=10)
    for said in (call.initial_metadata(), call.trailing_metadata()):
        said = [tuple(field) for field in said]
        assert all(field in said for field in fields), said
    assert ("x-bytes-bin", b"\0\xff") in [tuple(field) for field in call.trailing_metadata()]
    compressed = method(b"a" * 100_000, timeout=10, compression=grpc.Compression.Gzip)
    assert compressed == b"a" * 100_000


def retried(channel):
    method = channel.unary_unary(SERVICE + "Unary")
    assert [method(b"m" * size, timeout=10) for size in range(10)] == [b"m" * size for size in range(10)]


def failures(channel):
    method = channel.unary_unary(SERVICE + "Fail")
    for status in grpc.StatusCode:
        if status is not grpc.StatusCode.OK:
            message = f"a message of {status.name}: 100 % \u00fc\n"
            assert ended(lambda: method(f"{status.name} {message}".encode(), timeout=10)) == (status.name, message)
    none = channel.unary_unary(SERVICE + "None")
    assert ended(lambda: none(b"", timeout=10))[0] == "UNIMPLEMENTED"


def server_stream(channel):
    method = channel.unary_stream(SERVICE + "Count")
    for count in [0, 1, 10_000]:
        assert [int(message) for message in method(b"%d" % count, timeout=20)] == list(range(count)), count


def client_stream(channel):
    method = channel.stream_unary(SERVICE + "Add")
    assert method(iter([]), timeout=10) == b"0"
    sizes = [random.randrange(20_000) for _ in range(300)]
    assert int(method((bytes(size) for size in sizes), timeout=20)) == sum(sizes)


def both_streams(channel):
    """Each message is sent when the answer to the last one is there: nothing may be held back on the way."""
    sent, method = queue.Queue(), channel.stream_stream(SERVICE + "Echo")
    answers = method(iter(sent.get, None), timeout=20)
    for index in range(500):
        message = b"%d" % index + b"x" * random.choice([0, 10, 30_000])
        sent.put(message)
        assert next(answers) == message, index
    sent.put(None)
    assert list(answers) == []


def deadline(channel):
    method = channel.unary_unary(SERVICE + "Sleep")
    began = time.monotonic()
    assert ended(lambda: method(b"20", timeout=0.3))[0] == "DEADLINE_EXCEEDED"
    assert time.monotonic() - began < 5
    assert method(b"0.1", timeout=10) == b"awake"


def cancel(channel):
    method = channel.unary_stream(SERVICE + "Watch")
    call = method(b"one")
    assert next(call) == b"one"
    call.cancel()
    assert ended(lambda: next(call))[0] == "CANCELLED"


def cut(channel):
    """A call whose server, or proxy, goes while it is open."""
    call = channel.unary_stream(SERVICE + "Watch")(b"one")
    print(next(call).decode(), flush=True)
    status, message = ended(lambda: next(call))
    print(status, message.split()[0])


def silence(channel):
    """A call in which nobody speaks for two seconds, and then both do."""
    sent, method = queue.Queue(), channel.stream_stream(SERVICE + "Echo")
    answers = method(iter(sent.get, None), timeout=20)
    sent.put(b"one")
    assert next(answers) == b"one"
    time.sleep(2)
    sent.put(b"two")
    assert next(answers) == b"two"
    sent.put(None)
    assert list(answers) == []


def crowd(_channel):
    """A thousand calls at once, over ten connections: a third of them is cancelled at whatever point it has come to."""
    outcomes = asyncio.run(calls_at_once(1000))
    assert outcomes == {"complete": 666, "cancelled": 334}, outcomes


async def calls_at_once(count):
    outcomes, begun = {"complete": 0, "cancelled": 0}, asyncio.Barrier(count)

    async def one(method, index):
        call = method(timeout=60)
        is_cancelled = index % 3 == 0
        for number in range(1 + random.randrange(5) if is_cancelled else 6):
            message = b"%d of %d" % (number, index)
            await call.write(message)
            assert await call.read() == message
            if number == 0:
                # All of them are open now.
                await begun.wait()
        if is_cancelled:
            call.cancel()
            outcomes["cancelled"] += 1
        else:
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            outcomes["complete"] += await call.code() is grpc.StatusCode.OK

    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [open_channel(grpc.aio, options) for _ in range(10)]
    methods = [channel.stream_stream(SERVICE + "Echo") for channel in channels]
    await asyncio.gather(*(one(methods[index % 10], index) for index in range(count)))
    await asyncio.gather(*(channel.close() for channel in channels))
    return outcomes


def open_channel(library, options):
    if not authority:
        return library.insecure_channel(address, options)
    credentials = grpc.ssl_channel_credentials(open(authority, "rb").read())
    return library.secure_channel(address, credentials, [("grpc.ssl_target_name_override", "app.test"), *options])


address, authority, *cases = sys.argv[1:]
with open_channel(grpc, []) as channel:
    for case in cases:
        globals()[case](channel)
        print(case, flush=True)
