"""Floods, slow clients and reloads over HTTP/2: `scripts/soak --only http2` runs this.

usage: floods.py BINARY NGINX_PORT FIRST_PORT DIRECTORY

Starts the proxy with a configuration of its own; h2load asks all the while, and none of its requests may be lost. Prints a line
for each part, as abuse.py does. NGINX_PORT serves /1k; three ports from FIRST_PORT on are used.
"""

import asyncio
import contextlib
import itertools
import multiprocessing
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import time

from abuse import Failure, Proxy, attempt, expect, report, run_origin

FLOOD_SECONDS = 60
RELOADS = 60
HEAD_TIMEOUT = 5
SEND_TIMEOUT = 8
SLACK = 4
GROWTH_BYTES_MAX = 64 << 20

CONFIG = """
[process]
workers = 2
drain_timeout = "20s"
[admin]
address = "127.0.0.1:{admin}"
[[listeners]]
name = "web"
address = "127.0.0.1:{web}"
http2 = true
head_timeout = "{head_timeout}s"
send_timeout = "{send_timeout}s"
keepalive_timeout = "10s"
[[routes]]
name = "files"
upstream = "files"
[[routes]]
name = "odd"
path = {{ prefix = "/odd" }}
upstream = "odd"
[upstreams.files]
endpoints = ["127.0.0.1:{nginx}"]
[upstreams.odd]
endpoints = ["127.0.0.1:{odd}"]
"""

# One listener more, so that a reload changes something.
MORE = """
[[listeners]]
name = "more"
address = "127.0.0.1:{more}"
"""

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name, value):
    """Without index and Huffman coding (RFC 7541 §6.2.2)."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def block(path, method=b"GET"):
    return field(b":method", method) + field(b":scheme", b"http") + field(b":path", path) + field(b":authority", b"a")


def get(stream, path=b"/1k"):
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, block(path))


def upload(stream):
    return frame(HEADERS, END_HEADERS, stream, block(b"/odd/sink", b"POST"))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", code, value) for code, value in pairs))


def reset(stream):
    return frame(RESET, 0, stream, struct.pack(">I", 8))


def odd(number):
    return 2 * number + 1


# By the number of what is sent, for ever.
FLOODS = {
    "rapid reset": lambda number: get(odd(number), b"/odd/slow") + reset(odd(number)),
    "MadeYouReset": lambda number: get(odd(number), b"/odd/slow") + frame(WINDOW, 0, odd(number), b"\x7f\xff\xff\xff"),
    "streams above the limit": lambda number: get(odd(number), b"/odd/slow"),
    "SETTINGS": lambda _: frame(SETTINGS, 0, 0),
    "PING": lambda _: frame(PING, 0, 0, bytes(8)),
    "PRIORITY": lambda number: frame(PRIORITY, 0, odd(number), bytes(5)),
    "WINDOW_UPDATE": lambda _: frame(WINDOW, 0, 0, b"\0\0\0\1"),
    "empty DATA": lambda number: upload(1) if number == 0 else frame(DATA, 0, 1),
    "CONTINUATION": lambda number: frame(CONTINUATION if number else HEADERS, 0, 1, field(b"x", b"y")),
    "header bomb": lambda number: frame(HEADERS, END_STREAM | END_HEADERS, odd(number), BOMB[number > 0]),
}
# A field of 3900 bytes goes into the table, and is referred to.
BOMB = [block(b"/1k") + b"\x60\x7f\xbd\x1d" + b"x" * 3900 + b"\xbe" * 9, block(b"/1k") + b"\xbe" * 9000]


class Load:
    """h2load, again and again, for as long as the block lasts."""

    def __init__(self, port, path="/1k"):
        self.command = ["h2load", "-n", "20000", "-c", "8", "-m", "16", "-t", "1", f"http://127.0.0.1:{port}{path}"]
        self.requests, self.runs, self.lost = 0, 0, []

    async def __aenter__(self):
        self.is_over = False
        self.task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_):
        self.is_over = True
        await self.task

    async def run(self):
        while not self.is_over:
            process = await asyncio.create_subprocess_exec(*self.command, stdout=subprocess.PIPE)
            said = (await process.stdout.read()).decode()
            await process.wait()
            told = re.search(r"requests: (\d+) total, .*", said)
            self.runs += 1
            self.requests += int(told[1]) if told else 0
            if not told or "20000 succeeded, 0 failed, 0 errored, 0 timeout" not in said:
                self.lost.append(told[0] if told else said)

    def figures(self):
        expect(not self.lost, f"{len(self.lost)} of {self.runs} runs of h2load lost requests: {self.lost[:2]}")
        expect(self.requests, "h2load has asked for nothing")
        return f"{self.requests} requests of h2load, none lost"


async def connect(port, source="127.0.0.1", first=b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(PREFACE + settings() + first)
    return reader, writer


async def goodbye(reader):
    """Reads to the end: the code of the last GOAWAY."""
    code = None
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == 7:
                code = int.from_bytes(payload[4:8], "big")
    return code


async def flood(proxy, source, make):
    reader, writer = await connect(proxy.web, source)
    end = asyncio.create_task(goodbye(reader))
    with contextlib.suppress(ConnectionError):
        for start in itertools.count(0, 100):
            writer.write(b"".join(make(number) for number in range(start, start + 100)))
            await asyncio.wait_for(writer.drain(), 10)
            if end.done():
                break
            await asyncio.sleep(0)
    code = await asyncio.wait_for(end, 20)
    writer.close()
    return code


async def floods(proxy):
    """Four at a time, from addresses that come back and from new ones."""
    chance, ends, most = random.Random(9), {}, 0
    before, over = proxy.rss(), time.monotonic() + FLOOD_SECONDS

    async def one(index):
        while time.monotonic() < over:
            name = chance.choice(list(FLOODS))
            source = f"127.0.{index + 1}.{chance.choice([1, 1, chance.randrange(2, 250)])}"
            code = await flood(proxy, source, FLOODS[name])
            ends[code] = ends.get(code, 0) + 1
            # A connection that is reset has been told nothing.
            expect(code in (11, None), f"{name} ended with {code}")

    async def watch():
        nonlocal most
        while time.monotonic() < over:
            most = max(most, proxy.rss())
            await asyncio.sleep(0.2)

    async with Load(proxy.web) as load:
        await asyncio.gather(*(one(index) for index in range(4)), watch())
    grown = max(0, most - before)
    expect(grown <= GROWTH_BYTES_MAX, f"{grown >> 20} MiB more")
    expect(ends.get(11, 0) > 10 * ends.get(None, 0), f"ends: {ends}")
    await proxy.settle(others=0)
    misconduct = proxy.metric("corelane_listener_http2_connections_ended_total", 'reason="misconduct"')
    refused = proxy.metric("corelane_listener_http2_connections_refused_total")
    return f"{sum(ends.values())} floods, {misconduct} ended, {refused} refused; {grown >> 20} MiB more; {load.figures()}"


async def reloads(proxy, path, ports):
    async with Load(proxy.web) as load:
        for number in range(RELOADS):
            text = CONFIG + (MORE if number % 2 else "")
            with open(path, "w", encoding="ascii") as file:
                file.write(text.format(**ports, head_timeout=HEAD_TIMEOUT, send_timeout=SEND_TIMEOUT))
            proxy.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(1)
    done = proxy.metric("corelane_reloads_total", 'result="ok"')
    expect(done >= RELOADS, f"{done} reloads were done")
    await proxy.settle(others=0)
    return f"{done} reloads; {load.figures()}"


async def slow(proxy):
    """What begins and does not go on is ended in time, each kind by two hundred clients."""
    window_of_0 = settings((4, 0))
    # What is sent, and within how many seconds it must be over: the connection, but for streams that are reset.
    kinds = {
        "half a preface": (PREFACE[:10], HEAD_TIMEOUT),
        "half a head": (PREFACE + settings() + frame(HEADERS, 0, 1, block(b"/1k")), HEAD_TIMEOUT),
        "half a frame": (PREFACE + settings() + get(1)[:20], HEAD_TIMEOUT),
        "nothing behind SETTINGS": (PREFACE + settings(), 10),
        "no window": (PREFACE + window_of_0 + b"".join(get(odd(number)) for number in range(50)), SEND_TIMEOUT + 10),
    }

    async def one(bytes_, seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.web)
        start = time.monotonic()
        writer.write(bytes_)
        await asyncio.wait_for(goodbye(reader), seconds + SLACK)
        writer.close()
        return time.monotonic() - start

    before, told = proxy.rss(), []
    async with Load(proxy.web) as load:
        for name, (bytes_, seconds) in kinds.items():
            try:
                times = await asyncio.gather(*(one(bytes_, seconds) for _ in range(200)))
            except asyncio.TimeoutError:
                raise Failure(f"{name}: one stays for more than {seconds + SLACK} s") from None
            told.append(f"{name} {min(times):.1f} to {max(times):.1f} s")
    grown = max(0, proxy.rss() - before)
    expect(grown <= GROWTH_BYTES_MAX, f"{grown >> 20} MiB more")
    await proxy.settle(others=0)
    return f"{', '.join(told)}; {load.figures()}"


async def drain(proxy):
    """Streams that are open at the end finish."""
    told = []

    async def one():
        reader, writer = await connect(proxy.web, first=b"".join(get(odd(number), b"/odd/slow") for number in range(20)))
        answered = 0
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                answered += head[3] == DATA and head[4] & END_STREAM
        writer.close()
        told.append(answered)

    clients = [asyncio.create_task(one()) for _ in range(20)]
    while proxy.metric("corelane_endpoint_requests_active") < 400:
        await asyncio.sleep(0.05)
    start = time.monotonic()
    proxy.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*clients), 30)
    status = await asyncio.to_thread(proxy.process.wait, 30)
    expect(status == 0, f"exit status {status}")
    expect(told == [20] * 20, f"answers of 20 on each: {told}")
    return f"400 streams finished, exit status 0 after {time.monotonic() - start:.1f} s"


def main():
    binary, nginx, first, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ports = {"web": first, "admin": first + 1, "odd": first + 2, "more": first + 3, "nginx": nginx}
    origin = multiprocessing.Process(target=run_origin, args=(ports["odd"],), daemon=True)
    origin.start()
    proxy = Proxy(binary, directory, ports, CONFIG)
    attempt("http2 floods", floods(proxy))
    attempt("http2 slow", slow(proxy))
    attempt("http2 reloads", reloads(proxy, f"{directory}/abuse-{proxy.web}.toml", ports))
    attempt("http2 drain", drain(proxy))
    if proxy.process.poll() is None:
        report("http2", "FAILED", "the proxy still runs")
        proxy.process.kill()
    origin.terminate()


if __name__ == "__main__":
    main()
