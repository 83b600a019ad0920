"""Slow and abusive clients for real: `scripts/soak --only slow` runs this.

usage: abuse.py BINARY NGINX_PORT FIRST_PORT DIRECTORY

Starts the proxy with a configuration of its own and abuses it, part after part, twice: what the first round leaves
behind, the second must not add to. Ordinary clients are served all the while, and how long they wait is measured in a
process of its own. Prints a line for each part: `name<TAB>ok or FAILED<TAB>figures`. NGINX_PORT serves /1k and /100m;
four ports from FIRST_PORT on are used.
"""

import asyncio
import contextlib
import fcntl
import multiprocessing
import os
import random
import re
import resource
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import termios
import time
import urllib.request

HEAD_TIMEOUT = 5
SEND_TIMEOUT = 8
# The engine does not measure a slow client before this.
RATE_GRACE = 5
# A deadline is checked each 100 ms, and two loaded cores need a moment for a thousand closes.
SLACK = 3
# What ordinary clients may wait beside the abuse; the generator takes one of two cores.
P99_MAX_MS = 250

GET = b"GET /1k HTTP/1.1\r\nHost: a\r\n\r\n"

CONFIG = """
[process]
workers = 2
[admin]
address = "127.0.0.1:{admin}"
[[listeners]]
name = "web"
address = "127.0.0.1:{web}"
head_timeout = "{head_timeout}s"
send_timeout = "{send_timeout}s"
head_bytes_max = "64KiB"
request_line_bytes_max = "8KiB"
field_bytes_max = "8KiB"
fields_max = 1000
[[routes]]
name = "files"
upstream = "files"
[[routes]]
name = "odd"
path = {{ prefix = "/odd" }}
upstream = "odd"
[upstreams.files]
endpoints = ["127.0.0.1:{nginx}"]
head_bytes_max = "64KiB"
[upstreams.odd]
endpoints = ["127.0.0.1:{odd}"]
"""


class Failure(Exception):
    """What a part saw and should not have."""


def expect(condition, what):
    if not condition:
        raise Failure(what)


# The proxy, its origin and its ordinary clients.


class Proxy:
    def __init__(self, binary, directory, ports, config=CONFIG, files=None):
        self.web, self.admin = ports["web"], ports["admin"]
        path = os.path.join(directory, f"abuse-{self.web}.toml")
        with open(path, "w", encoding="ascii") as file:
            file.write(config.format(**ports, head_timeout=HEAD_TIMEOUT, send_timeout=SEND_TIMEOUT))
        checked = subprocess.run([binary, "check", path], check=True, capture_output=True, text=True).stdout
        told = re.search(r"memory at most: web \d+ connections x ([0-9.]+) ([KM]iB)", checked)
        expect(told, f"check says nothing of memory: {checked}")
        self.connection_bytes_max = float(told[1]) * (1024 if told[2] == "KiB" else 1024**2)
        limit = None
        if files:
            limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # noqa: E731
        log = open(os.path.join(directory, f"abuse-{self.web}.log"), "w", encoding="ascii")
        self.process = subprocess.Popen([binary, "run", path], stdout=log, stderr=log, preexec_fn=limit)
        for _ in range(200):
            with contextlib.suppress(OSError):
                self.metrics()
                return
            time.sleep(0.05)
        raise Failure("the proxy does not start")

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name, label=""):
        lines = [line for line in self.metrics().splitlines() if re.match(rf"{name}[ {{]", line) and label in line]
        return sum(int(line.rsplit(" ", 1)[1]) for line in lines)

    def failures(self, reason):
        return self.metric("corelane_listener_failures_total", f'reason="{reason}"')

    def rss(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024

    def descriptors(self):
        # Each worker has a table of its own.
        threads = f"/proc/{self.process.pid}/task"
        return max(len(os.listdir(f"{threads}/{thread}/fd")) for thread in os.listdir(threads))

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def settle(self, others=1):
        """Waits until no connection is open but those of the ordinary clients."""
        for _ in range(200):
            if self.metric("corelane_listener_connections") <= others:
                return
            await asyncio.sleep(0.1)
        raise Failure(f"{self.metric('corelane_listener_connections')} connections stay open")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(40)
        expect(status == 0, f"exit status {status}")


def run_origin(port):
    """/odd/slow answers after 3 s, /odd/tunnel switches and echoes, /odd/sink takes a body, /odd/stuck never ends one."""

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                path = head.split(" ")[1]
                length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
                if path == "/odd/slow":
                    await asyncio.sleep(3)
                if path == "/odd/tunnel":
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
                    while more := await reader.read(65536):
                        writer.write(more)
                        await writer.drain()
                    break
                if path == "/odd/stuck":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000))
                    await reader.read()
                    break
                if length:
                    await reader.readexactly(int(length[1]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)
        await server.serve_forever()

    asyncio.run(main())


def run_ordinary(port, stop, results):
    """One client that asks a hundred times a second over one connection and reads each answer whole."""
    times, failed, connection = [], [], None
    while not stop.is_set():
        start = time.monotonic()
        try:
            if connection is None:
                connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            connection.sendall(GET)
            got = b""
            while not got.endswith(bytes(1024)):
                more = connection.recv(65536)
                if not more:
                    raise ConnectionError(f"closed after {got[:100]}")
                got += more
            times.append(time.monotonic() - start)
        except OSError as error:
            failed.append(repr(error))
            connection = None
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

    def figures(self):
        """What they waited; fails where one was not served or waited long."""
        expect(not self.failed, f"{len(self.failed)} ordinary requests failed: {self.failed[:3]}")
        expect(len(self.times) >= 10, f"only {len(self.times)} ordinary requests were served")
        p99 = statistics.quantiles(self.times, n=100, method="inclusive")[98] * 1000
        expect(p99 <= P99_MAX_MS, f"ordinary clients waited {p99:.0f} ms (p99)")
        return f"{len(self.times)} ordinary requests, p99 {p99:.1f} ms"


# Abusive clients.


async def connect(port, **options):
    return await asyncio.open_connection("127.0.0.1", port, **options)


async def until_end(reader):
    """What still comes until the end, and whether that was a reset."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(65536):
            got += more
    return got


async def drip(port, start, byte):
    """Sends `start`, then a byte a second, until the proxy ends it; returns the seconds and what it said."""
    reader, writer = await connect(port)
    began = time.monotonic()
    writer.write(start)

    async def send():
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(1)
                writer.write(byte)
                await writer.drain()

    sending = asyncio.create_task(send())
    got = await until_end(reader)
    took = time.monotonic() - began
    sending.cancel()
    writer.close()
    return took, got


async def dripping(proxy, count, start, byte, seconds, reason):
    before = proxy.failures(reason)
    with Ordinary(proxy.web) as ordinary:
        ends = await asyncio.wait_for(
            asyncio.gather(*(drip(proxy.web, start, byte) for _ in range(count))), seconds + 30
        )
    times = [took for took, _ in ends]
    expect(max(times) <= seconds + SLACK, f"one stayed for {max(times):.1f} s")
    expect(min(times) >= seconds - 1, f"one was cut after {min(times):.1f} s")
    told = sum(got.startswith(b"HTTP/1.1 408") for _, got in ends)
    expect(told == count, f"{told} of {count} were told 408")
    counted = proxy.failures(reason) - before
    expect(counted == count, f"{counted} of {count} are counted as {reason}")
    await proxy.settle()
    return f"{count} gone after {min(times):.1f} to {max(times):.1f} s; {ordinary.figures()}"


async def slow_heads(proxy):
    return await dripping(
        proxy, 1000, b"GET /1k HTTP/1.1\r\nHost: a\r\nX-Drip: ", b"x", HEAD_TIMEOUT, "head_timeout"
    )


async def slow_bodies(proxy):
    head = b"POST /odd/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    return await dripping(proxy, 200, head, b"x", RATE_GRACE, "body_rate")


def sip(connection):
    """Reads a little, if there is something."""
    with contextlib.suppress(BlockingIOError):
        return len(connection.recv(4096))
    return 0


async def slow_readers(proxy):
    count, size, seconds = 200, 100 << 20, 15
    before, most, taken = proxy.rss(), 0, 0
    with Ordinary(proxy.web) as ordinary, contextlib.ExitStack() as readers:
        sockets = []
        for _ in range(count):
            reader = readers.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", proxy.web))
            reader.sendall(b"GET /100m HTTP/1.1\r\nHost: a\r\n\r\n")
            reader.setblocking(False)
            sockets.append(reader)
        start = time.monotonic()
        while (now := time.monotonic() - start) < seconds:
            try:
                taken += sum(sip(reader) for reader in sockets)
            except ConnectionError as error:
                raise Failure(f"a client that reads steadily is cut after {now:.1f} s") from error
            most = max(most, proxy.rss())
            await asyncio.sleep(0.1)
        alive = proxy.metric("corelane_listener_connections_active")
        expect(alive >= count, f"only {alive} of {count} slow readers are served")
    each = max(0, most - before) / count
    bound = proxy.connection_bytes_max
    expect(each <= bound, f"{each / 1024:.0f} KiB of RSS each, above the {bound / 1024:.0f} KiB that check prints")
    await proxy.settle()
    return (
        f"{count} readers of {size >> 20} MiB took {taken / count / seconds / 1024:.0f} KiB/s each; {each / 1024:.0f} KiB of "
        f"RSS each, check says {bound / 1024:.0f}; {ordinary.figures()}"
    )


def waiting(client):
    """The bytes that have arrived and are not read."""
    return struct.unpack("i", fcntl.ioctl(client, termios.FIONREAD, bytes(4)))[0]


async def no_readers(proxy):
    count = 200
    before = proxy.failures("send_timeout")
    # By descriptor: the client, what has arrived, and when that last grew.
    silent, gone = {}, []
    with Ordinary(proxy.web) as ordinary:
        # Nothing but an error or an end wakes it: what arrives is never read.
        poll = select.poll()
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", proxy.web), timeout=20)
            client.sendall(b"GET /100m HTTP/1.1\r\nHost: a\r\n\r\n")
            silent[client.fileno()] = (client, 0, time.monotonic())
            poll.register(client, 0)
        end = time.monotonic() + 2 * SEND_TIMEOUT + 20
        while silent and (now := time.monotonic()) < end:
            for descriptor, _ in poll.poll(100):
                poll.unregister(descriptor)
                client, _, stands_still_since = silent.pop(descriptor)
                gone.append(time.monotonic() - stands_still_since)
                client.close()
            for descriptor, (client, arrived, _) in silent.items():
                if (more := waiting(client)) > arrived:
                    silent[descriptor] = (client, more, now)
    expect(not silent, f"{len(silent)} clients that never read are kept")
    # What a client's kernel has taken is asked for only when the time is over; it may have been at its beginning.
    expect(max(gone) <= 2 * SEND_TIMEOUT + SLACK, f"one stayed for {max(gone):.1f} s")
    expect(min(gone) >= SEND_TIMEOUT - 1, f"one was cut after {min(gone):.1f} s")
    counted = proxy.failures("send_timeout") - before
    expect(counted == count, f"{counted} of {count} are counted as send_timeout")
    await proxy.settle()
    return f"{count} gone {min(gone):.1f} to {max(gone):.1f} s after the last byte; {ordinary.figures()}"


async def answers(reader, count):
    """Reads so many answers; the statuses, by number."""
    statuses = {}
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
        await reader.readexactly(length)
        status = head[9:12].decode()
        statuses[status] = statuses.get(status, 0) + 1
    return statuses


async def head_floods(proxy):
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 54) for number in range(990))
    one_large = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 8000) for number in range(8))
    good = [b"GET /1k HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n" for lines in (fields, one_large)]
    bad = [
        b"GET /1k HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET /1k HTTP/1.1\r\nHost: a\r\n" + one_large + one_large + b"\r\n",
        b"GET /1k HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 60_000 + b"\r\n\r\n",
        b"GET /" + b"p" * 60_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    expect(all(60_000 < len(head) <= 65_536 for head in good), f"{[len(head) for head in good]}")
    before, most = proxy.rss(), 0
    served = refused = 0
    end = time.monotonic() + 10

    async def serve():
        nonlocal served
        reader, writer = await connect(proxy.web)
        while time.monotonic() < end:
            for head in good:
                writer.write(head)
                statuses = await answers(reader, 1)
                expect(statuses == {"200": 1}, f"{statuses} for a head of {len(head)} bytes")
                served += 1
        writer.close()

    async def refuse():
        nonlocal refused
        while time.monotonic() < end:
            for head, status in zip(bad, [b"431", b"431", b"431", b"414"]):
                reader, writer = await connect(proxy.web)
                writer.write(head)
                got = await until_end(reader)
                expect(got[9:12] == status, f"{got[:40]} for a head of {len(head)} bytes")
                writer.close()
                refused += 1

    async def watch():
        nonlocal most
        while time.monotonic() < end:
            most = max(most, proxy.rss())
            await asyncio.sleep(0.2)

    with Ordinary(proxy.web) as ordinary:
        await asyncio.gather(*(serve() for _ in range(32)), *(refuse() for _ in range(32)), watch())
    grown = max(0, most - before)
    expect(grown <= 64 * proxy.connection_bytes_max, f"{grown >> 20} MiB more for 64 connections")
    await proxy.settle()
    return f"{served} of 64 KiB served, {refused} above it refused, {grown >> 20} MiB more; {ordinary.figures()}"


async def pipeline_floods(proxy):
    count, depth = 32, 2000
    before, most = proxy.rss(), 0

    async def one():
        nonlocal most
        reader, writer = await connect(proxy.web)
        # All of it before the first answer is read; what the proxy does not take waits here.
        writer.write(GET * depth)
        await asyncio.sleep(2)
        most = max(most, proxy.rss())
        statuses = await answers(reader, depth)
        writer.close()
        return statuses

    async def deaf():
        # Asks and asks, and never reads.
        reader, writer = await connect(proxy.web, limit=1024)
        writer.write(GET * 100_000)
        await asyncio.sleep(2 * SEND_TIMEOUT + SLACK)
        writer.transport.abort()
        del reader

    with Ordinary(proxy.web) as ordinary:
        read = await asyncio.gather(*(one() for _ in range(count)))
        most = max(most, proxy.rss())
        await asyncio.gather(*(deaf() for _ in range(count)))
    expect(all(statuses == {"200": depth} for statuses in read), f"{read[:3]}")
    grown = max(0, most - before)
    expect(grown <= count * proxy.connection_bytes_max, f"{grown >> 20} MiB more for {count} connections")
    await proxy.settle()
    return f"{count} of {depth} requests answered in full, {grown >> 20} MiB more; {ordinary.figures()}"


async def half_closes(proxy):
    requests = {
        "nothing": b"",
        "half a head": b"GET /1k HTTP/1.1\r\nHo",
        "a request": b"GET /odd/slow HTTP/1.1\r\nHost: a\r\n\r\n",
        "half a body": b"POST /odd/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
        "half a chunk": b"POST /odd/sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "a pipeline": GET * 20,
    }

    async def one(bytes_):
        reader, writer = await connect(proxy.web)
        writer.write(bytes_)
        writer.write_eof()
        await asyncio.wait_for(until_end(reader), 10)
        writer.close()

    count = 0
    with Ordinary(proxy.web) as ordinary:
        for _ in range(20):
            batch = [one(bytes_) for bytes_ in requests.values() for _ in range(50)]
            count += len(batch)
            await asyncio.gather(*batch)
    await proxy.settle()
    active = proxy.metric("corelane_endpoint_requests_active")
    expect(active <= 1, f"{active} requests are still active")
    return f"{count} in {len(requests)} phases, each ended by the proxy; {ordinary.figures()}"


# What is sent, and whether an answer is read before the end: `head` or some bytes of it.
PHASES = [
    (b"", None),
    (b"GE", None),
    (b"GET /1k HTTP/1.1\r\nHost: a\r\nX-A: ", None),
    (b"POST /odd/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", None),
    (b"POST /odd/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(5000), None),
    (b"POST /odd/sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc", None),
    (b"GET /odd/slow HTTP/1.1\r\nHost: a\r\n\r\n", None),
    (b"GET /odd/stuck HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n"),
    (b"GET /100m HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n"),
    (b"GET /100m HTTP/1.1\r\nHost: a\r\n\r\n", None),
    (GET, bytes(1024)),
    (GET * 10, b"\r\n\r\n"),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"\r\n\r\n"),
    (b"GET /odd/tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly", None),
    (b"GET /odd/tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly", b"early"),
]


async def aborts(proxy):
    descriptors = proxy.descriptors()
    chance = random.Random(3)
    slots = asyncio.Semaphore(100)

    async def one(bytes_, awaited, reset):
        async with slots:
            reader, writer = await connect(proxy.web)
            writer.write(bytes_)
            if awaited:
                await asyncio.wait_for(reader.readuntil(awaited), 10)
            await asyncio.sleep(chance.random() * 0.03)
            if reset:
                writer.transport.abort()
            else:
                writer.close()

    count = 0
    with Ordinary(proxy.web) as ordinary:
        for _ in range(10):
            batch = [one(*phase, reset) for phase in PHASES for reset in (False, True) for _ in range(30)]
            chance.shuffle(batch)
            count += len(batch)
            await asyncio.gather(*batch)
    await proxy.settle()
    for _ in range(100):
        active = proxy.metric("corelane_endpoint_requests_active")
        if active <= 1:
            break
        await asyncio.sleep(0.1)
    expect(active <= 1, f"{active} requests are still active")
    idle = proxy.metric("corelane_endpoint_connections_idle")
    more = proxy.descriptors() - descriptors
    expect(more <= idle + 2, f"{more} descriptors more, with {idle} pooled connections")
    return f"{count} in {2 * len(PHASES)} phases; {more} descriptors more, {idle} pooled; {ordinary.figures()}"


async def descriptors(binary, directory, ports):
    """A proxy of 256 descriptors and 600 clients."""
    proxy = Proxy(binary, directory, ports, files=256)
    crowd = []
    try:
        kept = socket.create_connection(("127.0.0.1", proxy.web), timeout=20)
        for _ in range(600):
            crowd.append(socket.create_connection(("127.0.0.1", proxy.web), timeout=20))
        await asyncio.sleep(1)
        busy, start = proxy.cpu_seconds(), time.monotonic()
        await asyncio.sleep(2)
        share = (proxy.cpu_seconds() - busy) / (time.monotonic() - start)
        expect(share < 0.2, f"{share:.0%} of a core while it waits for descriptors")
        # Who is connected is answered; without a descriptor for the upstream that is a 503.
        kept.sendall(GET)
        first = kept.recv(65536)[9:12]
        expect(first in (b"200", b"503"), f"{first} at the limit")
        open_at_the_limit = proxy.descriptors()
        for client in crowd:
            client.close()
        kept.close()
        recovered = time.monotonic()
        while True:
            with contextlib.suppress(OSError, Failure):
                reader, writer = await connect(proxy.web)
                writer.write(GET)
                statuses = await asyncio.wait_for(answers(reader, 1), 2)
                writer.close()
                if statuses == {"200": 1}:
                    break
            expect(time.monotonic() - recovered < 15, "it does not recover")
        took = time.monotonic() - recovered
        await proxy.settle(others=0)
        pauses = proxy.metric("corelane_worker_accept_pauses_total")
        expect(pauses > 0, "accepting was never paused")
    finally:
        for client in crowd:
            client.close()
    left = proxy.descriptors()
    proxy.stop()
    return (
        f"{open_at_the_limit} of 256 open, {pauses} pauses, {share:.0%} of a core; served again after {took:.1f} s, "
        f"{left} open then"
    )


PARTS = [slow_heads, slow_bodies, slow_readers, no_readers, head_floods, pipeline_floods, half_closes, aborts]


def report(name, verdict, figures):
    print(f"{name}\t{verdict}\t{figures}", flush=True)


def attempt(name, part):
    """Runs a part; its failure is a line, too."""
    try:
        report(name, "ok", asyncio.run(part))
    except (Failure, OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as failure:
        report(name, "FAILED", f"{type(failure).__name__}: {failure}")


def main():
    binary, nginx, first, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ports = {"web": first, "admin": first + 1, "odd": first + 2, "nginx": nginx}
    origin = multiprocessing.Process(target=run_origin, args=(ports["odd"],), daemon=True)
    origin.start()
    proxy = Proxy(binary, directory, ports)
    start, rounds = proxy.rss(), []
    for number in (1, 2):
        for part in PARTS:
            attempt(f"{part.__name__} {number}", part(proxy))
        rounds.append(proxy.rss())
    grown = rounds[1] - rounds[0]
    shown = ", ".join(f"{bytes_ >> 10} KiB" for bytes_ in [start, *rounds])
    report("rss", "ok" if grown <= 8 << 20 else "FAILED", f"{shown} at the start and after each round")
    try:
        proxy.stop()
        report("drain", "ok", "exit status 0")
    except (Failure, subprocess.TimeoutExpired) as failure:
        report("drain", "FAILED", failure)
    attempt("descriptors", descriptors(binary, directory, ports))
    origin.terminate()


if __name__ == "__main__":
    main()
