"""Slices whose load is a program of others: h2load at a fixed rate, and wrk and h2load as closed loops, to check our own.

At a fixed rate, h2load asks, each of its connections at its own even pace, and writes down
every request.

The connections of one h2load keep step: their requests come as one burst. So there are several, started one after the
other, whose bursts fall as chance has it. Requests are taken from the logs for the time between two readings of the
proxy's clock.
"""

import os
import re
import resource
import subprocess
import time
from pathlib import Path

from . import tools
from .measure import Bench, Slice
from .processes import LOAD_CORE, prepare, real_time
from .workloads import CONNECTIONS

# Connections open, and the first bursts are over.
SETTLE_SECONDS = 0.15
# And a little longer than what counts.
MARGIN_SECONDS = 0.05
# How many h2load share the connections.
GENERATORS = 8


def percentile(ordered, share):
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class ForeignBench(Bench):
    """Rounds whose load is started anew for each slice."""

    def __init__(self, running, origin, workload, speed):
        super().__init__(running, origin, None, speed, has_counters=False)
        self.workload = workload

    def load_ns(self):
        """Of the origin, and of every generator that has ended."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return self.origin.cpu_ns() + int((ended.ru_utime + ended.ru_stime) * 1e9)

    def start(self, command):
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, preexec_fn=prepare(LOAD_CORE))


class ClosedBench(ForeignBench):
    """The generator says how many requests there were only at its end, so connecting is in the figures."""

    def slice(self, index, seconds, scrape):
        proxy = self.running[index]
        process = proxy.process
        load_cpu, waited, cpu, start = self.load_ns(), process.waited_ns(), process.cpu_ns(), time.monotonic()
        generator = self.start(self.command(proxy, max(1, round(seconds))))
        text = generator.communicate(timeout=seconds + 30)[0]
        took = time.monotonic() - start
        cpu, waited, load_cpu = process.cpu_ns() - cpu, process.waited_ns() - waited, self.load_ns() - load_cpu
        requests = self.requests(text)
        if generator.returncode != 0 or requests is None:
            raise SystemExit(f"{self.workload.kind} saw errors of {proxy.name}:\n{text}")
        shares = cpu / took / 1e9, load_cpu / took / 1e9, waited / took / 1e9
        return Slice(proxy.name, requests, took, cpu / 1000 / requests, *shares, {})


class WrkBench(ClosedBench):
    def command(self, proxy, seconds):
        command = [tools.find("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
        return [*command, f"http://127.0.0.1:{proxy.port}{self.workload.path}"]

    def requests(self, text):
        """How many there were, if none failed."""
        found = re.search(r"(\d+) requests in", text)
        return int(found[1]) if found and "Socket errors" not in text and "Non-2xx" not in text else None


class H2loadBench(ClosedBench):
    def command(self, proxy, seconds):
        scheme = "https" if self.workload.tls else "http"
        command = [tools.find("h2load"), f"-c{self.workload.connections}", f"-m{self.workload.streams}", "-t1", f"-D{seconds}s"]
        return [*command, f"{scheme}://127.0.0.1:{proxy.port}{self.workload.path}"]

    def requests(self, text):
        """How many there were, if none failed. What is on its way at the end counts as "errored"."""
        found = re.search(r"(\d+) done, (\d+) succeeded", text)
        return int(found[1]) if found and found[1] == found[2] else None


class PacedBench(ForeignBench):
    """Rounds at a given rate."""

    def __init__(self, running, origin, workload, speed, rate, folder):
        super().__init__(running, origin, workload, speed)
        self.pace = rate
        self.logs = [Path(folder) / f"h2load-{number}.log" for number in range(GENERATORS)]
        # Otherwise a neighbour is felt for milliseconds: the next tick of the kernel's clock. h2load inherits it.
        self.urgent = [pid for it in running for pid in it.process.pids()] + [*origin.pids(), os.getpid()]
        real_time(self.urgent, True)

    def close(self):
        real_time(self.urgent, False)
        super().close()

    def generator(self, proxy, log, seconds):
        """One h2load, running."""
        log.unlink(missing_ok=True)
        command = [tools.find("h2load"), "--h1", f"-c{CONNECTIONS // GENERATORS}", "-t1", f"-D{seconds * 1000:.0f}ms"]
        command += [f"--rps={self.pace / CONNECTIONS:.3f}", f"--log-file={log}"]
        command += [f"http://127.0.0.1:{proxy.port}{self.workload.path}"]
        return self.start(command)

    def slice(self, index, seconds, scrape):
        proxy = self.running[index]
        process = proxy.process
        load_cpu, begin = self.load_ns(), time.monotonic()
        duration = SETTLE_SECONDS + seconds + MARGIN_SECONDS
        generators = [self.generator(proxy, log, duration) for log in self.logs]
        time.sleep(SETTLE_SECONDS)
        waited, cpu, start = process.waited_ns(), process.cpu_ns(), time.time_ns()
        time.sleep(seconds)
        waited, cpu, end = process.waited_ns() - waited, process.cpu_ns() - cpu, time.time_ns()
        texts = [generator.communicate(timeout=30)[0] for generator in generators]
        load_cpu, whole = self.load_ns() - load_cpu, time.monotonic() - begin
        # When it began, in µs; its status; how many µs it took.
        rows = [line.split() for log in self.logs if log.exists() for line in log.read_text().splitlines()]
        if any(it.returncode != 0 for it in generators) or any(row[1] != "200" for row in rows):
            raise SystemExit(f"h2load saw errors of {proxy.name}:\n" + "\n".join(texts))
        times = sorted(int(row[2]) for row in rows if start <= (int(row[0]) + int(row[2])) * 1000 < end)
        if not times:
            raise SystemExit(f"{proxy.name} answered nothing at {self.pace:.0f} requests/s")
        return Slice(
            proxy.name,
            len(times),
            (end - start) / 1e9,
            cpu / 1000 / len(times),
            cpu / (end - start),
            load_cpu / whole / 1e9,
            waited / (end - start),
            {},
            {name: percentile(times, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))},
        )
