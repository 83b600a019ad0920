"""A gRPC server with PyPI's grpcio-health-checking, for tests/proxy/health.

The server as a whole serves, and so does `shop.Orders`; `shop.Stock` does not. With a key and a certificate it speaks TLS.
Prints its port; a line of its standard input, `SERVICE STATUS`, sets a status, which it says again. Ends with its standard
input.
"""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
servicer.set("", SERVING)
servicer.set("shop.Orders", SERVING)
servicer.set("shop.Stock", NOT_SERVING)
if len(sys.argv) > 1:
    key, certificate = (open(path, "rb").read() for path in sys.argv[1:3])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
for line in sys.stdin:
    service, status = line.split()
    servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    print(line, end="", flush=True)
server.stop(None)
