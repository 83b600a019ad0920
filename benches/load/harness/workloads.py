"""The workloads: what is asked for, on how many connections, and how it is measured.

To add one that is only another request: a line in WORKLOADS. The origin answers /get-SIZE, /chunked-SIZE and any POST.
"""

from dataclasses import dataclass

CONNECTIONS = 64
# Over HTTP/2: as many requests at once, and more, on fewer connections.
HTTP2_CONNECTIONS, HTTP2_STREAMS = 16, 32


@dataclass
class Workload:
    """`kind`: slices (closed loop), wrk, h2load, rate (h2load too), rates, idle, slow. `only`: the proxies that take part, if not all."""

    name: str
    about: str
    path: str = "/get-1k"
    body_bytes: int = 0
    answer_bytes: int = 1024
    kind: str = "slices"
    closes: bool = False
    has_relays: bool = True
    only: tuple = ()
    # TLS between load and proxy: none, or whether new connections shake hands in full or resume sessions.
    tls: str = ""
    # Seconds of a slice, where the default does not do.
    seconds: float = 0.0
    connections: int = CONNECTIONS
    # Of each connection, over HTTP/2 between load and proxy; 0: HTTP/1.1.
    streams: int = 0

    def counts_bytes(self):
        """Whether a slice is too short to count whole requests: then they are what their bytes make."""
        return self.body_bytes + self.answer_bytes >= 1 << 20

    def request(self):
        """The bytes of a request: as many fields as a plain client sends."""
        method = "POST" if self.body_bytes else "GET"
        lines = [f"{method} {self.path} HTTP/1.1", "Host: bench.example", "User-Agent: corelane-floor", "Accept: */*"]
        if self.body_bytes:
            lines += ["Content-Type: application/octet-stream", f"Content-Length: {self.body_bytes}"]
        if self.closes:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + b"x" * self.body_bytes



def over_http2(name, about, *request, tls, **more):
    """A workload over HTTP/2, with TLS or by prior knowledge."""
    prefix, over = ("h2", "over HTTP/2 and TLS") if tls else ("h2c", "over HTTP/2 without TLS")
    size = {"connections": HTTP2_CONNECTIONS, "streams": HTTP2_STREAMS, "has_relays": False}
    return Workload(f"{prefix}-{name}", f"{about} {over}", *request, tls=tls, **size, **more)


def all_over_http2():
    for tls in ("", "full"):
        yield over_http2("get-1k", "GET of 1 KiB", tls=tls)
        yield over_http2("get-64k", "GET of 64 KiB", "/get-64k", 0, 64 << 10, tls=tls)
        yield over_http2("post-16k", "POST of 16 KiB", "/post", 16 << 10, 2, tls=tls)
        yield over_http2("h2load", "GET of 1 KiB, asked for by h2load instead of our own load,", kind="h2load", seconds=1.0, tls=tls)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("get-1k", "GET of 1 KiB, keep-alive"),
        Workload("get-64k", "GET of 64 KiB", "/get-64k", 0, 64 << 10),
        Workload("get-1m", "GET of 1 MiB", "/get-1m", 0, 1 << 20, seconds=0.4),
        Workload("get-16m", "GET of 16 MiB", "/get-16m", 0, 16 << 20, seconds=0.6, connections=16),
        Workload("chunked-16k", "GET of 16 KiB in chunks of 4 KiB", "/chunked-16k", 0, 16 << 10),
        Workload("post-16k", "POST of 16 KiB", "/post", 16 << 10, 2),
        Workload("post-1m", "POST of 1 MiB", "/post", 1 << 20, 2, seconds=0.4),
        Workload("new-connection", "GET of 1 KiB, a connection each", closes=True, has_relays=False),
        Workload("access-log", "GET of 1 KiB, access log on", only=("corelane", "corelane-log")),
        Workload("routes-10k", "GET of 1 KiB among 10 000 routes and 100 filters", only=("corelane", "corelane-routes")),
        Workload("filters", "GET of 1 KiB through filters", only=("corelane", "corelane-filters")),
        Workload(
            "observed", "GET of 1 KiB, everything seen or nothing", only=("corelane-plain", "corelane", "corelane-observed")
        ),
        Workload("metrics", "GET of 1 KiB, scraped every second", only=("corelane", "corelane-scraped"), seconds=1.0),
        Workload("wrk", "GET of 1 KiB, asked for by wrk instead of our own load", kind="wrk", seconds=1.0),
        Workload("fixed-rate", "GET of 1 KiB at a third of nginx's saturation", kind="rate"),
        Workload("rates", "GET of 1 KiB at several rates, for the plot", kind="rates"),
        Workload("idle-10k", "GET of 1 KiB beside 10 000 idle connections", kind="idle", has_relays=False),
        Workload("slow-readers-64", "64 clients that read 16 MiB slowly", "/get-16m", 0, 16 << 20, kind="slow"),
        Workload("tls-get-1k", "GET of 1 KiB over TLS, keep-alive", tls="full"),
        Workload("tls-get-1m", "GET of 1 MiB over TLS", "/get-1m", 0, 1 << 20, seconds=0.4, tls="full"),
        Workload("tls-post-1m", "POST of 1 MiB over TLS", "/post", 1 << 20, 2, seconds=0.4, tls="full"),
        Workload("tls-full", "GET of 1 KiB, a connection and a full handshake each", closes=True, tls="full"),
        Workload("tls-resumed", "GET of 1 KiB, a connection and a resumed session each", closes=True, tls="resumed"),
        Workload("tls-idle-10k", "GET of 1 KiB over TLS beside 10 000 idle connections", kind="idle", tls="full"),
        *all_over_http2(),
    )
}

OVER_TLS = tuple(name for name, workload in WORKLOADS.items() if workload.tls and not workload.streams)
OVER_HTTP2 = tuple(name for name, workload in WORKLOADS.items() if workload.streams)

QUICK = ("get-1k", "get-64k", "chunked-16k", "post-16k", "new-connection", "access-log")
QUICK_PROXIES = ("corelane", "corelane-log", "before", "nginx-64k", "haproxy-64k", "relay-epoll")
