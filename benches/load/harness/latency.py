"""Slices whose load is a program of others: h2load at a fixed rate, and wrk as a closed loop, to check our own.

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


class WrkBench(ForeignBench):
    """wrk says how many requests there were only at its end, so connecting is in the figures."""

    def slice(self, index, seconds, scrape):
        proxy = self.running[index]
        process = proxy.process
        command = [tools.find("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s"]
        command.append(f"http://127.0.0.1:{proxy.port}{self.workload.path}")
        load_cpu, waited, cpu, start = self.load_ns(), process.waited_ns(), process.cpu_ns(), time.monotonic()
        generator = self.start(command)
        text = generator.communicate(timeout=seconds + 30)[0]
        took = time.monotonic() - start
        cpu, waited, load_cpu = process.cpu_ns() - cpu, process.waited_ns() - waited, self.load_ns() - load_cpu
        found = re.search(r"(\d+) requests in", text)
        if generator.returncode != 0 or not found or "Socket errors" in text or "Non-2xx" in text:
            raise SystemExit(f"wrk saw errors of {proxy.name}:\n{text}")
        requests = int(found[1])
        shares = cpu / took / 1e9, load_cpu / took / 1e9, waited / took / 1e9
        return Slice(proxy.name, requests, took, cpu / 1000 / requests, *shares, {})


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
