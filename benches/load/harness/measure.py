"""Slices and rounds: which proxy gets load when, what is read before and after, and which rounds count.

All proxies of a workload are up for as long as it lasts, all pinned to one core; one at a time gets load, for a fraction of
a second, then the next. A round is one slice of each; the order rotates. Short slices, because the speed of a virtual
machine changes within seconds: what is compared is then a second apart and not a minute. Everything of a slice is read
while the load goes on, so that neither start nor end is in it.
"""

import mmap
import statistics
import struct
import time
import urllib.request
from dataclasses import dataclass, field

from .counters import Counters
from .processes import LOAD_CORE, PROXY_CORE, TICKS, Process, core_ticks

# Before a slice counts: the connections have found their rhythm and the caches are the proxy's.
WARM_SECONDS = 0.05
# Behind the slice, with the processor's counters on. They are exact: less will do.
COUNTED_SECONDS = 0.08
COUNTERS = 3

# What a round may have, to count. Steal: of both cores' time. Foreign: of a core's time, used by somebody else. Waited:
# of the proxy's slice, ready but not running. All of them guesses, and all reported.
STEAL_MAX, FOREIGN_MAX, WAITED_MAX = 0.02, 0.10, 0.10
# The slowest to the fastest moment of what is compared, for messages on one core; and for cache lines between the two.
SPEED_MAX, DISTANCE_MAX = 1.2, 1.5
# ns of a cache line to the other core and back, within a shared cache: 50 on the machine of development, 500 without.
NEAR_MAX = 150
# A proxy's core is the bottleneck when it is used at least so much.
SATURATED = 0.95


@dataclass
class Slice:
    """What one proxy did in a round. Times in seconds; counts a request."""

    proxy: str
    requests: float
    seconds: float
    cpu_us: float
    core: float
    load_core: float
    waited: float
    counted: dict
    # µs, where every request was timed.
    latency: dict = field(default_factory=dict)
    # What the machine was like before and after it.
    speeds: tuple = ()

    @property
    def rate(self):
        return self.requests / self.seconds

    def state(self):
        """Where the machine's cores were; None if they moved, or the proxy was kept waiting."""
        of_lines = [line for _, line in self.speeds]
        # Its own threads wait for each other, too: then it has the core.
        if not is_even(self.speeds) or min(self.waited, 1 - self.core) > WAITED_MAX:
            return None
        return "near" if max(of_lines) <= NEAR_MAX else "far"


def is_even(speeds):
    """Whether the machine was the same at all these moments: otherwise nothing compares."""
    of_messages, of_lines = zip(*speeds)
    return max(of_messages) <= SPEED_MAX * min(of_messages) and max(of_lines) <= DISTANCE_MAX * min(of_lines)


@dataclass
class Round:
    """One slice of each."""

    slices: list
    steal: float
    foreign: float

    def complaints(self):
        """Why the round does not count; none if it does."""
        return (["steal"] if self.steal > STEAL_MAX else []) + (["other load"] if self.foreign > FOREIGN_MAX else [])

    def of(self, proxy, state=None):
        """The slice of a proxy, if the machine was in that state."""
        return next((it for it in self.slices if it.proxy == proxy and state in (None, it.state())), None)

    def pair(self, proxy, base, state):
        """The slices of two proxies, if they compare."""
        both = self.of(proxy, state), self.of(base, state)
        return both if all(both) and is_even(both[0].speeds + both[1].speeds) else None


# Below this many rounds a median says nothing.
ROUNDS_MIN = 3


@dataclass
class Result:
    """All rounds of a workload. `user`: share of user time; `softirq`: of the core's busy time, by the timer's samples."""

    workload: str
    proxies: list
    rounds: list
    user: dict
    softirq: float

    def quiet(self):
        """The rounds that count."""
        return [it for it in self.rounds if not it.complaints()]

    def compared(self, state):
        """In how many of these every proxy compares with the first one, at least."""
        first = self.proxies[0]
        return min(sum(1 for it in self.quiet() if it.pair(first, name, state)) for name in self.proxies)

    def enough(self):
        return min(ROUNDS_MIN, len(self.rounds))

    def states(self):
        """Those that the first proxy was often enough in, the better one first."""
        first = self.proxies[0]
        often = {state: sum(1 for it in self.quiet() if it.of(first, state)) for state in STATES}
        return [state for state in STATES if often[state] >= self.enough()]

    def state(self):
        """Of which the figures are: cores that share a cache, as neighbours do on a real machine, if there were any."""
        def slices(state):
            return sum(1 for one in self.rounds for it in one.slices if it.state() == state)

        return (self.states() or [max(STATES, key=slices)])[0]

    def over(self, of):
        """Something of each round that counts; where too few have it, of each round."""
        found = [it for it in map(of, self.quiet()) if it is not None]
        return found if len(found) >= self.enough() else [it for it in map(of, self.rounds) if it is not None]

    def values(self, proxy, of, state=None):
        """A figure of a proxy, in one state of the machine."""
        state = state or self.state()
        found = self.over(lambda one: one.of(proxy, state))
        return [value for value in map(of, found) if value is not None]

    def ratios(self, proxy, base, of, state=None):
        """The same as a ratio to another proxy, within the round."""
        state = state or self.state()
        pairs = [(of(a), of(b)) for a, b in self.over(lambda one: one.pair(proxy, base, state))]
        return [a / b for a, b in pairs if a is not None and b]

    def is_quiet(self, proxy, base, state=None):
        """Whether their ratios are of rounds that count."""
        state = state or self.state()
        return sum(1 for it in self.quiet() if it.pair(proxy, base, state)) >= self.enough()


STATES = ("near", "far")


def cpu_us(it):
    return it.cpu_us


def rate(it):
    return it.rate


def counted(name):
    """A figure of the processor's counters: instructions or cycles, user and kernel together, or one of them."""

    def of(it):
        found = [value for key, value in it.counted.items() if key.startswith(name)]
        return sum(found) if found else None

    return of


def median(values):
    return statistics.median(values) if values else None


def quartiles(values):
    if len(values) < 2:
        return None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


class Speed:
    """What the machine is like at the moment."""

    def __init__(self, floor, folder):
        command = [floor, "speed", "--core", PROXY_CORE, "--other-core", LOAD_CORE]
        self.process = Process(command, PROXY_CORE, folder / "speed.log", is_dialogue=True)

    def now(self):
        """ns: of a message on the proxies' core, of a cache line to the load's core and back."""
        return tuple(int(word) for word in self.process.ask("now").split())

    def stop(self):
        self.process.stop()


class Load:
    """The closed loop of one workload, with its counters."""

    def __init__(self, floor, workload, proxies, folder):
        request, counters = folder / f"{workload.name}.request", folder / f"{workload.name}.counters"
        command = [floor, "load-http2" if workload.streams else "load"]
        command += ["--connections", workload.connections, "--counters", counters]
        if workload.streams:
            command += ["--streams", workload.streams, "--path", workload.path, "--body-bytes", workload.body_bytes]
        else:
            request.write_bytes(workload.request())
            command += ["--request", request]
        command += ["--close"] if workload.closes else []
        command += ["--tls"] if workload.tls else []
        command += ["--resume"] if workload.tls == "resumed" else []
        ports = [proxy.port for proxy in proxies]
        self.process = Process(command + ports, LOAD_CORE, folder / "load.log", is_dialogue=True)
        self.counters, self.file = counters, None
        self.workload = workload

    def go(self, index):
        assert self.process.ask(f"go {index}") == "going"
        if self.file is None:
            with open(self.counters, "r+b") as file:
                self.file = mmap.mmap(file.fileno(), 0)

    def halt(self):
        assert self.process.ask("stop") == "stopped"

    def done(self, index):
        """(requests, errors) so far; of large messages the bytes count, as requests."""
        requests, errors, moved = struct.unpack_from("<3Q", self.file, 8 * COUNTERS * index)
        if self.workload.counts_bytes():
            requests = moved / (self.workload.answer_bytes + len(self.workload.request()))
        return requests, errors

    def stop(self):
        self.process.stop()


class Bench:
    """The running proxies of a workload, in the order of the tables, and who loads them."""

    def __init__(self, running, origin, load, speed, has_counters):
        self.running, self.origin, self.load, self.speed = running, origin, load, speed
        self.counters = {it.name: Counters(it.process.pids()) for it in running} if has_counters else {}

    def slice(self, index, seconds, scrape):
        """Load for one proxy, and what it cost."""
        proxy = self.running[index]
        process = proxy.process
        self.load.go(index)
        time.sleep(WARM_SECONDS)
        waited = process.waited_ns()
        load_cpu = self.load_ns()
        cpu, (requests, errors), start = process.cpu_ns(), self.load.done(index), time.monotonic()
        if scrape:
            urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin}/metrics", timeout=5).read()
        time.sleep(max(0.0, seconds - (time.monotonic() - start)))
        cpu, (requests_after, errors_after), took = process.cpu_ns() - cpu, self.load.done(index), time.monotonic() - start
        load_cpu = self.load_ns() - load_cpu
        waited = process.waited_ns() - waited
        counted_events = self.count(index, proxy)
        self.load.halt()
        if errors_after > errors:
            raise SystemExit(f"{proxy.name}: {errors_after - errors} errors under {self.load.workload.name}")
        requests = requests_after - requests
        if requests <= 0:
            raise SystemExit(f"{proxy.name} answered nothing under {self.load.workload.name}")
        return Slice(
            proxy.name,
            requests,
            took,
            cpu / 1000 / requests,
            cpu / took / 1e9,
            load_cpu / took / 1e9,
            waited / took / 1e9,
            counted_events,
        )

    def count(self, index, proxy):
        """Instructions and cycles a request, in a short time of their own."""
        counters = self.counters.get(proxy.name)
        if counters is None:
            return {}
        counters.switch(True)
        before, (requests, _) = counters.read(), self.load.done(index)
        time.sleep(COUNTED_SECONDS)
        after, (requests_after, _) = counters.read(), self.load.done(index)
        counters.switch(False)
        requests = requests_after - requests
        return {name: (after[name] - before[name]) / requests for name in before} if requests > 0 else {}

    def round(self, number, seconds, scraped):
        """One slice of each, beginning with another one each time."""
        shift = number % len(self.running)
        order = list(range(len(self.running)))
        order = order[shift:] + order[:shift]
        speed = self.speed.now()
        start, ours, cores = time.monotonic(), self.ours(), (core_ticks(PROXY_CORE), core_ticks(LOAD_CORE))
        slices = []
        for index in order:
            slices.append(self.slice(index, seconds, self.running[index].name in scraped))
            speed, before = self.speed.now(), speed
            slices[-1].speeds = (before, speed)
        took = time.monotonic() - start
        ours = [(after - before) / 1e9 for after, before in zip(self.ours(), ours)]
        after = (core_ticks(PROXY_CORE), core_ticks(LOAD_CORE))
        steal = sum(b["steal"] - a["steal"] for a, b in zip(cores, after)) / TICKS / took
        busy = [(b["busy"] - a["busy"]) / TICKS for a, b in zip(cores, after)]
        foreign = max(0.0, *(of_core - of_us for of_core, of_us in zip(busy, ours))) / took
        return Round(slices, steal, foreign)

    def ours(self):
        """The time that our processes used of each core, in ns."""
        of_proxies = sum(it.process.cpu_ns() for it in self.running) + self.speed.process.cpu_ns()
        return of_proxies, self.load_ns() + time.process_time_ns()

    def load_ns(self):
        """The time that load and origin used so far."""
        return self.load.process.cpu_ns() + self.origin.cpu_ns()

    def close(self):
        for counters in self.counters.values():
            counters.close()


def run_rounds(bench, workload, rounds, seconds, rounds_max, say):
    """Rounds until enough of them count, or there were too many."""
    seconds = workload.seconds or seconds
    scraped = {"corelane-scraped"} if workload.name == "metrics" else set()
    ticks = {it.name: it.process.ticks() for it in bench.running}
    done = []
    # The first one opens the connections.
    bench.round(0, 0.1, set())
    softirq = core_ticks(PROXY_CORE)
    result = Result(workload.name, [it.name for it in bench.running], done, {}, 0.0)
    while max(result.compared(state) for state in STATES) < rounds and len(done) < rounds_max:
        done.append(bench.round(len(done), seconds, scraped))
        say(workload, done[-1], len(done))
    after = core_ticks(PROXY_CORE)
    busy = max(1, after["busy"] - softirq["busy"])
    for it in bench.running:
        both = [after - before for before, after in zip(ticks[it.name], it.process.ticks())]
        result.user[it.name] = both[0] / sum(both) if sum(both) else None
    result.softirq = (after["softirq"] - softirq["softirq"]) / busy
    return result
