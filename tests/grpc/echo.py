"""A gRPC server with PyPI's grpcio for tests/proxy/http2/grpc_calls.rs: methods of bytes, without generated code.

With a key and a certificate it speaks TLS; with the word `unavailable` it ends calls of Unary with that status. Prints its port, then a line for each call of Watch that its client has cancelled.
Ends with its standard input.
"""

import asyncio
import sys

import grpc


async def unary(request, context):
    """Answers what it gets, with the metadata whose names begin with `x-test`."""
    if sys.argv[1:] == ["unavailable"]:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not today")
    said = [(name, value) for name, value in context.invocation_metadata() if name.startswith("x-test")]
    await context.send_initial_metadata(said)
    context.set_trailing_metadata((*said, ("x-bytes-bin", b"\0\xff")))
    return request


async def fail(request, context):
    """Ends with the status and the message `STATUS MESSAGE`."""
    status, message = request.decode().split(" ", 1)
    await context.abort(grpc.StatusCode[status], message)


async def count(request, context):
    """Streams as many messages as it is asked for."""
    for index in range(int(request)):
        yield b"%d" % index


async def add(requests, context):
    """Adds up the lengths of a stream's messages."""
    return b"%d" % sum([len(request) async for request in requests])


async def echo(requests, context):
    """Answers each message of a stream before it takes the next one."""
    async for request in requests:
        yield request


async def sleep(request, context):
    """Answers after so many seconds."""
    await asyncio.sleep(float(request))
    return b"awake"


async def watch(request, context):
    """Streams a message, and then nothing until its client cancels it."""
    try:
        yield request
        await asyncio.sleep(30)
    finally:
        print(f"cancelled {request.decode()}", flush=True)


async def flood(request, context):
    """Streams large messages for ever."""
    while True:
        yield b"x" * 1_000_000


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Add": grpc.stream_unary_rpc_method_handler(add),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    "Flood": grpc.unary_stream_rpc_method_handler(flood),
    "Watch": grpc.unary_stream_rpc_method_handler(watch),
}


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", METHODS)])
    if len(sys.argv) > 2:
        key, certificate = (open(path, "rb").read() for path in sys.argv[1:3])
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


asyncio.run(main())
