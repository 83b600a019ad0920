"""One run of the bench: each workload in turn, with the proxies that take part in it."""

from . import latency, measure, memory, servers
from .measure import median
from .proxies import PROXIES
from .targets import best
from .workloads import WORKLOADS

# Of nginx's saturated rate. The first is the target's, the others are for the plot.
FIXED_SHARE = 1 / 3
PLOT_SHARES = (0.1, 0.2, 1 / 3, 0.45, 0.6, 0.75)
PLOT_ROUNDS = 4
PLOTTED = ("corelane", "before", "nginx-64k", "haproxy-64k", "relay-epoll", "pingora", "envoy")
# Seconds of a slice at a fixed rate: enough requests for a p99.9.
PACED_SECONDS = 0.8


class Session:
    """What runs and what was found. `results` are in the order of the workloads."""

    def __init__(self, built, folder, names, rounds, seconds, has_counters):
        self.built, self.folder, self.names = built, folder, names
        self.rounds, self.seconds, self.has_counters = rounds, seconds, has_counters
        self.up = servers.Servers(built, folder)
        self.speed = measure.Speed(built["floor"], folder)
        self.running = {}
        self.results, self.memories, self.rates, self.notes = [], {}, [], []
        self.saturation = None

    def close(self):
        self.speed.stop()
        self.up.stop_all()

    def run(self, workload):
        part = taking_part(workload, self.names)
        kinds = {
            "slices": self.slices,
            "wrk": self.foreign,
            "h2load": self.foreign,
            "rate": self.rate,
            "rates": self.all_rates,
            "idle": self.idle,
            "slow": self.slow,
        }
        if part:
            kinds[workload.kind](workload, part)

    def long_lived(self, workload, part):
        """The proxies that stay up, started when they are first needed."""
        keys = [(name, bool(workload.tls), bool(workload.streams)) for name in part]
        for key in keys:
            if key not in self.running:
                self.running[key] = self.up.start(*key)
            servers.check(self.running[key], workload)
        return [self.running[key] for key in keys]

    def closed_loop(self, workload, running, rounds):
        load = measure.Load(self.built["floor"], workload, running, self.folder)
        bench = measure.Bench(running, self.up.origin, load, self.speed, self.has_counters)
        try:
            return measure.run_rounds(bench, workload, rounds, self.seconds, 2 * rounds, say)
        finally:
            bench.close()
            load.stop()

    def slices(self, workload, part):
        result = self.closed_loop(workload, self.long_lived(workload, part), self.rounds)
        self.results.append(result)

    def foreign(self, workload, part):
        kind = {"wrk": latency.WrkBench, "h2load": latency.H2loadBench}[workload.kind]
        bench = kind(self.long_lived(workload, part), self.up.origin, workload, self.speed)
        self.results.append(measure.run_rounds(bench, workload, self.rounds, self.seconds, 2 * self.rounds, say))

    def saturated_rate(self):
        """Requests a second of nginx, 1 KiB: of this run's workload, or measured now. The least of the machine's states, so
        that a share of it is below saturation in all of them."""
        if self.saturation is None:
            found = next((result for result in self.results if result.workload == "get-1k"), None)
            if found is None or not any(PROXIES[name].family == "nginx" for name in found.proxies):
                workload = WORKLOADS["get-1k"]
                found = self.closed_loop(workload, self.long_lived(workload, ["nginx-64k"]), 3)
            states = found.states() or [found.state()]
            names = [best(found, "nginx", measure.rate, False, state) for state in states]
            self.saturation = min(median(found.values(name, measure.rate, of)) for name, of in zip(names, states))
        return self.saturation

    def paced(self, workload, part, share, rounds):
        rate = self.saturated_rate() * share
        running = self.long_lived(workload, part)
        bench = latency.PacedBench(running, self.up.origin, workload, self.speed, rate, self.folder)
        try:
            return rate, measure.run_rounds(bench, workload, rounds, PACED_SECONDS, 2 * rounds, say)
        finally:
            bench.close()

    def rate(self, workload, part):
        rate, result = self.paced(workload, part, FIXED_SHARE, self.rounds)
        self.notes.append(f"fixed-rate: {rate:.0f} requests/s, a third of nginx's {self.saturation:.0f}")
        self.results.append(result)

    def all_rates(self, workload, part):
        part = [name for name in part if name in PLOTTED]
        for share in PLOT_SHARES:
            self.rates.append(self.paced(workload, part, share, min(PLOT_ROUNDS, self.rounds)))

    def fresh(self, workload, part):
        """Processes of their own, whose memory no other workload has touched."""
        running = [self.up.start(name, bool(workload.tls), bool(workload.streams)) for name in part]
        for it in running:
            servers.check(it, workload)
        return running

    def idle(self, workload, part):
        running = self.fresh(workload, part)
        load = measure.Load(self.built["floor"], workload, running, self.folder)
        bench = measure.Bench(running, self.up.origin, load, self.speed, self.has_counters)
        held = []
        try:
            # The 64 busy connections are there before, so that they are not in the growth.
            bench.round(0, self.seconds, set())
            for it in running:
                held.append(memory.Held(self.built["floor"], it, workload, self.folder))
                print(f"{workload.name}: {it.name} holds {memory.IDLE_CONNECTIONS} connections", flush=True)
            self.results.append(measure.run_rounds(bench, workload, self.rounds, self.seconds, 2 * self.rounds, say))
            self.memories[workload.name] = [it.release() for it in held]
        finally:
            bench.close()
            load.stop()
            for it in running:
                self.up.stop(it)

    def slow(self, workload, part):
        self.memories[workload.name] = []
        for name in part:
            [running] = self.fresh(workload, [name])
            found = memory.slow_readers(self.built["floor"], running, workload.request(), self.folder)
            self.memories[workload.name].append(found)
            print(f"{workload.name}: {name} {found.per_connection / 1024:.1f} KiB a connection", flush=True)
            self.up.stop(running)


def taking_part(workload, names):
    """The proxies of a workload, in the order of the tables."""

    def fits(proxy):
        is_asked = not workload.only or proxy.name in workload.only
        is_useful = not proxy.only or workload.name in proxy.only
        speaks = proxy.speaks_all or not (workload.tls or workload.streams)
        return is_asked and is_useful and speaks and (workload.has_relays or not proxy.is_relay)

    return [name for name in PROXIES if name in names and fits(PROXIES[name])]


def say(workload, one, number):
    """A line for each round, while it goes on."""
    slices = sorted(one.slices, key=lambda it: it.proxy)
    figures = "  ".join(f"{it.proxy} {it.cpu_us:.2f} {it.state() or 'changed'}" for it in slices)
    print(f"{workload.name} {number}: {figures} {', '.join(one.complaints())}".rstrip(), flush=True)
