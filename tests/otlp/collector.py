"""The collector of tests/proxy/tracing: OTLP with the messages of PyPI's opentelemetry-proto, over HTTP or grpcio.

usage: collector.py http|grpc PORT [ANSWER...]

Each ANSWER is for one export, 200 for those behind the last: an HTTP status, a gRPC status by its name, `partial`, or
`silent` for one that never comes, `slow` for a 200 after half a second. `STATUS:SECONDS` says when to come again.
Prints a line when it listens, and then one line of JSON for each export: the fields of its head, what was answered, and
its spans. Ends with its standard input.
"""

import json
import os
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

protocol, port, *answers = sys.argv[1:]
lock = threading.Lock()


def values(attributes):
    return {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in attributes}


def spans_of(request):
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "resource": values(resource.resource.attributes),
                    "scope": [scope.scope.name, scope.scope.version],
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "state": span.trace_state,
                    "flags": span.flags,
                    "name": span.name,
                    "kind": span.kind,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "status": span.status.code,
                    "attributes": values(span.attributes),
                }


def next_answer():
    with lock:
        answer, _, seconds = (answers.pop(0) if answers else "200").partition(":")
        return answer, seconds


def tell(fields, answer, request):
    line = json.dumps({"fields": fields, "answer": answer, "spans": list(spans_of(request))})
    with lock:
        print(line, flush=True)


def response(answer):
    response = trace_service_pb2.ExportTraceServiceResponse()
    if answer == "partial":
        response.partial_success.rejected_spans = 1
        response.partial_success.error_message = "one is too old"
    return response


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        answer, seconds = next_answer()
        fields = {name.lower(): value for name, value in self.headers.items()} | {":path": self.path}
        tell(fields, answer, request)
        if answer == "silent":
            threading.Event().wait()
        if answer == "slow":
            threading.Event().wait(0.5)
        status = 200 if answer in ("partial", "slow") else int(answer)
        body = response(answer).SerializeToString() if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        if seconds:
            self.send_header("Retry-After", seconds)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Service(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        answer, seconds = next_answer()
        tell(dict(context.invocation_metadata()), answer, request)
        if answer == "silent":
            threading.Event().wait()
        if answer not in ("200", "partial"):
            code = grpc.StatusCode[answer]
            if seconds:
                status = status_pb2.Status(code=code.value[0], message="later")
                delay = error_details_pb2.RetryInfo()
                delay.retry_delay.seconds = int(seconds)
                status.details.add().Pack(delay)
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(code, "not now")
        return response(answer)


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that has left is none."""


if protocol == "grpc":
    server = grpc.server(futures.ThreadPoolExecutor(8))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    assert server.add_insecure_port(f"127.0.0.1:{port}") == int(port)
    server.start()
else:
    server = Server(("127.0.0.1", int(port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("listens", flush=True)
sys.stdin.read()
# Handlers that are silent would hold it up.
os._exit(0)
