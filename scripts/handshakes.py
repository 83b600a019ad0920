"""Slow and many TLS handshakes for real: `scripts/soak --only handshakes` runs this.

usage: handshakes.py BINARY NGINX_PORT FIRST_PORT DIRECTORY

Starts the proxy with one worker and a certificate of its own. A thousand clients send a byte of their handshake each
second; then others begin handshakes as fast as they can and drop them once the server has signed. Ordinary clients of
established connections are served all the while, in a process of their own. Prints a line for each part:
`name<TAB>ok or FAILED<TAB>figures`. NGINX_PORT serves /1k; two ports from FIRST_PORT on are used.
"""

import asyncio
import contextlib
import multiprocessing
import os
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import time

from abuse import GET, Failure, Proxy, attempt, expect, report, until_end

SLOW = 1000
HANDSHAKE_TIMEOUT = 20
# What a slow handshake may hold: rustls' state and the session, whose idle bound is 8 KiB, and what has come.
SLOW_BYTES_MAX = 16 * 1024
FLOODERS = 2
FLOOD_SECONDS = 10
# Four signatures and what else is ready make a turn; the generators take the other core, and some of this one.
P99_MAX_MS = 250

CONFIG = """
[process]
workers = 1
[admin]
address = "127.0.0.1:{admin}"
[[listeners]]
name = "web"
address = "127.0.0.1:{web}"
[listeners.tls]
certificates = [{{ cert = "edge.pem", key = "edge.key" }}]
handshake_timeout = "%ds"
[[routes]]
name = "files"
upstream = "files"
[upstreams.files]
endpoints = ["127.0.0.1:{nginx}"]
""" % HANDSHAKE_TIMEOUT


def issue(directory, *key):
    command = ["openssl", "req", "-x509", "-noenc", "-newkey", *key, "-days", "2", "-subj", "/CN=app.test"]
    files = [os.path.join(directory, f"edge.{ending}") for ending in ("key", "pem")]
    names = ["-addext", "subjectAltName=DNS:app.test"]
    subprocess.run([*command, *names, "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)


def client_context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def hello():
    """The bytes of a ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client_context().wrap_bio(incoming, outgoing, server_hostname="app.test").do_handshake()
    return outgoing.read()


def run_ordinary(port, stop, results):
    """Eight established connections that take turns, a hundred requests a second."""
    times, failed, context = [], [], client_context()
    connect = lambda: context.wrap_socket(  # noqa: E731
        socket.create_connection(("127.0.0.1", port), timeout=20), server_hostname="app.test"
    )
    connections = [connect() for _ in range(8)]
    while not stop.is_set():
        connection = connections[len(times) % len(connections)]
        start = time.monotonic()
        try:
            connection.sendall(GET.replace(b"Host: a", b"Host: app.test"))
            got = b""
            while not got.endswith(bytes(1024)):
                more = connection.recv(65536)
                if not more:
                    raise ConnectionError(f"closed after {got[:100]}")
                got += more
            times.append(time.monotonic() - start)
        except OSError as error:
            failed.append(repr(error))
            break
        time.sleep(0.01)
    results.send((times, failed))


class Ordinary:
    """Ordinary clients in a process of their own, for as long as the block lasts."""

    def __init__(self, port):
        self.stop = multiprocessing.Event()
        self.results, theirs = multiprocessing.Pipe(False)
        self.process = multiprocessing.Process(target=run_ordinary, args=(port, self.stop, theirs), daemon=True)

    def __enter__(self):
        self.process.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.times, self.failed = self.results.recv()
        self.process.join()

    def p99(self):
        """What they waited, in milliseconds; fails where one was not served."""
        expect(not self.failed, f"{len(self.failed)} ordinary requests failed: {self.failed[:3]}")
        expect(len(self.times) >= 100, f"only {len(self.times)} ordinary requests were served")
        return statistics.quantiles(self.times, n=100, method="inclusive")[98] * 1000


async def slow_handshakes(proxy):
    """A thousand clients, a byte a second each, until the proxy ends them."""
    bytes_ = hello()
    before, most = proxy.rss(), 0

    async def drip():
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.web)
        start, ended = time.monotonic(), asyncio.create_task(until_end(reader))
        with contextlib.suppress(ConnectionError):
            for byte in bytes_:
                writer.write(bytes([byte]))
                if (await asyncio.wait({ended}, timeout=1))[0]:
                    break
        writer.close()
        return time.monotonic() - start

    with Ordinary(proxy.web) as ordinary:
        drips = asyncio.gather(*(drip() for _ in range(SLOW)))
        while not drips.done():
            await asyncio.sleep(0.5)
            most = max(most, proxy.rss())
        took = await drips
    each = (most - before) // SLOW
    expect(each <= SLOW_BYTES_MAX, f"{each} bytes each")
    late = [seconds for seconds in took if not HANDSHAKE_TIMEOUT - 1 < seconds < HANDSHAKE_TIMEOUT + 5]
    expect(not late, f"{len(late)} ended after other times: {sorted(late)[:3]}")
    left = proxy.metric("corelane_listener_tls_handshakes_in_progress")
    expect(left == 0, f"{left} handshakes are left")
    return (
        f"{SLOW} at once, {each} bytes each at most, ended after {min(took):.1f} to {max(took):.1f} s; "
        f"{len(ordinary.times)} ordinary requests, p99 {ordinary.p99():.1f} ms"
    )


def flood(port, stop, results):
    """Sends the same ClientHello on one connection after the other, and leaves when the server has answered."""
    bytes_, count, reset = hello(), 0, struct.pack("ii", 1, 0)
    while not stop.is_set():
        with contextlib.suppress(OSError):
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            # No TIME_WAIT, so that ports do not run out.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            connection.sendall(bytes_)
            connection.recv(1)
            connection.close()
            count += 1
    results.send(count)


async def handshake_flood(proxy):
    """What established connections wait without a flood, and beside one."""
    with Ordinary(proxy.web) as quiet:
        await asyncio.sleep(FLOOD_SECONDS)
    stop, cpu = multiprocessing.Event(), proxy.cpu_seconds()
    pipes = [multiprocessing.Pipe(False) for _ in range(FLOODERS)]
    flooders = [multiprocessing.Process(target=flood, args=(proxy.web, stop, theirs)) for _, theirs in pipes]
    with Ordinary(proxy.web) as beside:
        # Its connections are established first.
        await asyncio.sleep(1)
        start = time.monotonic()
        for flooder in flooders:
            flooder.start()
        await asyncio.sleep(FLOOD_SECONDS)
        stop.set()
        count = sum(ours.recv() for ours, _ in pipes)
        seconds = time.monotonic() - start
    cpu = (proxy.cpu_seconds() - cpu) / seconds
    for flooder in flooders:
        flooder.join()
    p99 = beside.p99()
    expect(p99 <= P99_MAX_MS, f"established connections waited {p99:.0f} ms (p99)")
    expect(count > 100 * FLOOD_SECONDS, f"only {count} handshakes: no flood")
    return f"p99 {quiet.p99():.1f} ms alone, {p99:.1f} ms beside {count / seconds:.0f} handshakes/s, {cpu:.0%} of a core"


def main():
    binary, nginx, first, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    ports = {"web": first, "admin": first + 1, "nginx": nginx}
    for kind, key in (("ecdsa", ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")), ("rsa", ("rsa:2048",))):
        issue(directory, *key)
        proxy = Proxy(binary, directory, ports, CONFIG)
        if kind == "ecdsa":
            attempt("slow handshakes", slow_handshakes(proxy))
        attempt(f"flood, {kind}", handshake_flood(proxy))
        try:
            proxy.stop()
        except (Failure, subprocess.TimeoutExpired) as failure:
            report("drain", "FAILED", failure)


if __name__ == "__main__":
    main()
