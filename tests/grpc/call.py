"""One unary call with PyPI's grpcio, for tests/proxy/http2/grpc.rs: says how it has ended as a line of JSON.

usage: call.py ADDRESS METHOD MESSAGE
"""

import json
import sys

import grpc

address, method, message = sys.argv[1:]
with grpc.insecure_channel(address) as channel:
    call = channel.unary_unary(method)
    try:
        answer, ended = call.with_call(message.encode(), timeout=10)
        answer = answer.decode()
    except grpc.RpcError as error:
        answer, ended = None, error
    fields = list(ended.initial_metadata()) + list(ended.trailing_metadata())
    said = {"status": ended.code().name, "message": ended.details(), "fields": dict(fields), "answer": answer}
    print(json.dumps(said, default=str))
