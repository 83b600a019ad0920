"""The targets, and whether they are reached: the table at the head of RESULTS.md."""

from dataclasses import dataclass

from . import measure
from .measure import STATES, median
from .proxies import PROXIES
from .workloads import WORKLOADS


@dataclass
class Target:
    """`figure`: of Corelane as a ratio to the family `against`. `at_most`: else at least."""

    measure: str
    workload: str
    against: str
    bound: float
    figure: object = measure.cpu_us
    at_most: bool = True


def latency(name):
    return lambda it: it.latency.get(name)


TARGETS = (
    Target("CPU, GET 1 KiB keep-alive", "get-1k", "nginx", 0.55),
    Target("CPU, GET 1 KiB keep-alive", "get-1k", "haproxy", 0.60),
    Target("CPU, GET 1 KiB keep-alive", "get-1k", "pingora", 0.25),
    Target("CPU, GET 1 KiB keep-alive", "get-1k", "relay-epoll", 1.15),
    Target("CPU at a third of nginx's saturation", "fixed-rate", "nginx", 0.80),
    Target("p99 at a third of nginx's saturation", "fixed-rate", "nginx", 1.0, latency("p99")),
    Target("p99 at a third of nginx's saturation", "fixed-rate", "haproxy", 1.0, latency("p99")),
    Target("CPU with the access log on", "access-log", "corelane", 1.10),
    Target("CPU with histograms, the access log, and traces of 1 %", "observed", "corelane-plain", 1.15),
    Target("CPU with 10 000 routes and 100 filters defined", "routes-10k", "corelane", 1.15),
    Target("CPU, POST 16 KiB", "post-16k", "nginx", 0.55),
    Target("CPU, POST 16 KiB", "post-16k", "haproxy", 0.45),
    Target("CPU, POST 16 KiB", "post-16k", "relay-epoll", 1.25),
    Target("CPU, chunked 16 KiB", "chunked-16k", "nginx", 0.55),
    Target("CPU, chunked 16 KiB", "chunked-16k", "haproxy", 0.45),
    Target("CPU, chunked 16 KiB", "chunked-16k", "relay-epoll", 1.25),
    Target("CPU, GET 64 KiB", "get-64k", "nginx", 0.70),
    Target("CPU, GET 64 KiB", "get-64k", "haproxy", 0.55),
    Target("CPU, GET 1 MiB", "get-1m", "nginx", 0.60),
    Target("CPU, GET 1 MiB", "get-1m", "haproxy-splice", 1.0),
    Target("CPU, GET 16 MiB", "get-16m", "nginx", 0.60),
    Target("CPU, GET 16 MiB", "get-16m", "haproxy-splice", 1.0),
    Target("CPU, new connection per request", "new-connection", "nginx", 0.75),
    Target("CPU, new connection per request", "new-connection", "haproxy", 0.75),
    Target("CPU, GET 1 KiB over TLS", "tls-get-1k", "nginx", 0.70),
    Target("CPU, GET 1 KiB over TLS", "tls-get-1k", "haproxy", 0.70),
    Target("CPU, GET 1 MiB over TLS", "tls-get-1m", "nginx", 1.0),
    Target("CPU, new connection with a full handshake", "tls-full", "nginx", 1.0),
    Target("CPU, new connection with a resumed session", "tls-resumed", "nginx", 1.0),
    Target("full handshakes/s of one core, with a GET each", "tls-full", "nginx", 1.0, measure.rate, False),
    Target("resumed handshakes/s of one core, with a GET each", "tls-resumed", "nginx", 1.0, measure.rate, False),
    *(
        Target(f"CPU, {what} over HTTP/2{over}", f"{prefix}-{name}", against, 0.80)
        for prefix, over in (("h2c", ""), ("h2", " and TLS"))
        for name, what in (("get-1k", "GET 1 KiB"), ("get-64k", "GET 64 KiB"), ("post-16k", "POST 16 KiB"), ("h2load", "h2load's GET 1 KiB"))
        for against in ("nginx", "haproxy")
    ),
    Target("requests/s of one core, GET 1 KiB", "get-1k", "nginx", 1.6, measure.rate, False),
    Target("requests/s of one core, GET 1 KiB", "get-1k", "haproxy", 1.5, measure.rate, False),
)
# KiB of user memory.
IDLE_CONNECTION_KIB_MAX = {"idle-10k": 1.0, "tls-idle-10k": 8.0}


def best(result, family, figure, at_most, state):
    """The variant of a family with the better figure: 16 or 64 KiB of buffers, whichever suits it."""
    names = [name for name in result.proxies if PROXIES[name].family == family]
    names = [name for name in names if result.values(name, figure, state)]
    choose = min if at_most else max
    return choose(names, key=lambda name: median(result.values(name, figure, state)), default=None)


def subject(target):
    own = {"access-log": "corelane-log", "observed": "corelane-observed", "routes-10k": "corelane-routes"}
    return own.get(target.workload, "corelane")


def reached(target, result, state):
    """(the figure in a state of the machine, the variant that it is against)."""
    base = best(result, target.against, target.figure, target.at_most, state)
    mine = subject(target)
    return median(result.ratios(mine, base, target.figure, state)) if base else None, base


def rows(results, memories):
    """measure, target, the figure with the cores near and far, whether it is reached."""
    by_name = {result.workload: result for result in results}
    found = []
    for target in TARGETS:
        result = by_name.get(target.workload)
        if result is None or "corelane" not in result.proxies:
            continue
        figures = {state: reached(target, result, state) for state in result.states() or [result.state()]}
        figure, base = figures.get(result.state(), (None, None))
        if figure is None:
            continue
        shown = [f"{figures[state][0]:.2f}" if figures.get(state, (None,))[0] is not None else "-" for state in STATES]
        sign = "≤" if target.at_most else "≥"
        is_met = figure <= target.bound if target.at_most else figure >= target.bound
        about = "yes" if is_met else "**no**"
        if not result.is_quiet(subject(target), base):
            about += " (disturbed)"
        found.append([target.measure, f"{sign} {target.bound:.2f} × {base}", *shown, about])
    for name, bound in IDLE_CONNECTION_KIB_MAX.items():
        of_corelane = [memory for memory in memories.get(name, []) if memory.proxy == "corelane"]
        for memory in of_corelane:
            kib = memory.per_connection / 1024
            what = "an idle connection" + (" over TLS" if WORKLOADS[name].tls else "")
            about = "yes" if kib <= bound else "**no**"
            found.append([f"user memory of {what}", f"≤ {bound:.0f} KiB", f"{kib:.2f} KiB", "", about])
    return found
