"""Slices at a fixed rate: h2load asks, each of its connections at its own even pace, and writes down every request.

Its connections keep step, so that the requests come in bursts, one of each connection; that is hard on the tail and the
same for every proxy. Requests are taken from its log for the time between two readings of the proxy's clock.
"""

import resource
import subprocess
import time
from pathlib import Path

from . import tools
from .measure import Bench, Slice
from .processes import LOAD_CORE, prepare
from .workloads import CONNECTIONS

# Connections open, and the first bursts are over.
SETTLE_SECONDS = 0.15
# At the end, with the processor's counters on.
COUNTED_SECONDS = 0.15


def percentile(ordered, share):
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


class PacedBench(Bench):
    """Rounds like those of a closed loop, at a given rate."""

    def __init__(self, running, origin, workload, speed, has_counters, rate, folder):
        super().__init__(running, origin, None, speed, has_counters)
        self.workload, self.pace = workload, rate
        self.log = Path(folder) / "h2load.log"

    def load_ns(self):
        """Of the origin, and of every h2load that has ended."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return self.origin.cpu_ns() + int((ended.ru_utime + ended.ru_stime) * 1e9)

    def slice(self, index, seconds, scrape):
        proxy = self.running[index]
        process, counters = proxy.process, self.counters.get(proxy.name)
        self.log.unlink(missing_ok=True)
        duration = SETTLE_SECONDS + seconds + (COUNTED_SECONDS if counters else 0) + 0.05
        command = [tools.find("h2load"), "--h1", f"-c{CONNECTIONS}", "-t1", f"-D{duration * 1000:.0f}ms"]
        command += [f"--rps={self.pace / CONNECTIONS:.3f}", f"--log-file={self.log}"]
        command += [f"http://127.0.0.1:{proxy.port}{self.workload.path}"]
        load_cpu, begin = self.load_ns(), time.monotonic()
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=prepare(LOAD_CORE))
        time.sleep(SETTLE_SECONDS)
        waited, cpu, start = process.waited_ns(), process.cpu_ns(), time.time_ns()
        time.sleep(seconds)
        waited, cpu, end = process.waited_ns() - waited, process.cpu_ns() - cpu, time.time_ns()
        events, counted_start = {}, time.time_ns()
        if counters:
            counters.switch(True)
            before = counters.read()
            counted_start = time.time_ns()
            time.sleep(COUNTED_SECONDS)
            after = counters.read()
            counters.switch(False)
            events = {name: after[name] - before[name] for name in before}
        counted_end = time.time_ns()
        text, _ = load.communicate(timeout=30)
        load_cpu, whole = self.load_ns() - load_cpu, time.monotonic() - begin
        rows = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        if load.returncode != 0 or any(row[1] != "200" for row in rows):
            raise SystemExit(f"h2load saw errors of {proxy.name}:\n{text.decode()}")
        # µs: when it began, how long it took.
        requests = [(int(row[0]), int(row[2])) for row in rows]
        ended = [(took, began + took) for began, took in requests]
        mine = sorted(took for took, at in ended if start <= at * 1000 < end)
        counted = sum(1 for _, at in ended if counted_start <= at * 1000 < counted_end)
        if not mine:
            raise SystemExit(f"{proxy.name} answered nothing at {self.pace:.0f} requests/s")
        return Slice(
            proxy.name,
            len(mine),
            (end - start) / 1e9,
            cpu / 1000 / len(mine),
            cpu / (end - start),
            load_cpu / whole / 1e9,
            waited / (end - start),
            self.speed.now(),
            {name: value / counted for name, value in events.items()} if counted else {},
            {name: percentile(mine, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))},
        )
