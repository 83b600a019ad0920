"""User memory of connections that do little: idle ones, and clients that read slowly. Each time of fresh processes.

Memory is what is the process's own and not backed by a file (Pss_Anon); per connection it is the growth over the same
process with 64 busy connections. What a proxy allocates for its connections at its start is therefore not in it (nginx
does: some 0.4 KiB for each of worker_connections). The kernel's socket buffers are not user memory.
"""

import time
from dataclasses import dataclass

from .processes import LOAD_CORE, Process

IDLE_CONNECTIONS = 10000
SLOW_CONNECTIONS = 64
# Bytes a second of a slow reader: 16 MiB would take two minutes.
SLOW_RATE = 128 << 10
SLOW_SECONDS = 4.0


@dataclass
class Memory:
    """Of one proxy, in bytes. `peak`: the most that was ever resident."""

    proxy: str
    connections: int
    before: int
    during: int
    pss: int
    peak: int
    closed: int = 0
    cpu_ms_per_second: float = 0.0

    @property
    def per_connection(self):
        return (self.during - self.before) / self.connections


class Held:
    """Idle connections to one proxy, after one request on each."""

    def __init__(self, floor, running, workload, folder):
        self.running = running
        self.before = running.process.memory()["anonymous"]
        path = folder / "hold.request"
        path.write_bytes(workload.request())
        command = [floor, "hold", "--connections", IDLE_CONNECTIONS, "--port", running.port, "--request", path]
        command += ["--tls"] if workload.tls else []
        self.process = Process(command, LOAD_CORE, folder / f"hold-{running.name}.log", is_dialogue=True)
        assert self.process.answer() == "holding"
        self.during = running.process.memory()["anonymous"]

    def release(self):
        """Ends them; what they took."""
        now = self.running.process.memory()
        self.process.process.stdin.close()
        closed = int(self.process.answer().split()[0])
        self.process.process.wait(10)
        return Memory(self.running.name, IDLE_CONNECTIONS, self.before, self.during, now["pss"], now["peak"], closed)


def slow_readers(floor, running, request, folder):
    """Clients that read a large answer slowly, for some seconds; the most that they took."""
    path = folder / "slow.request"
    path.write_bytes(request)
    before = running.process.memory()["anonymous"]
    command = [floor, "slow", "--connections", SLOW_CONNECTIONS, "--port", running.port, "--request", path]
    process = Process(command + ["--rate", SLOW_RATE], LOAD_CORE, folder / f"slow-{running.name}.log", is_dialogue=True)
    assert process.answer() == "reading"
    # The kernel's buffers fill first; then the readers' pace is the proxy's.
    time.sleep(1.0)
    cpu, start, during = running.process.cpu_ns(), time.monotonic(), 0
    while time.monotonic() < start + SLOW_SECONDS:
        during = max(during, running.process.memory()["anonymous"])
        time.sleep(0.25)
    cpu, took = (running.process.cpu_ns() - cpu) / 1e6, time.monotonic() - start
    now = running.process.memory()
    process.process.stdin.close()
    process.answer()
    process.process.wait(10)
    return Memory(running.name, SLOW_CONNECTIONS, before, during, now["pss"], now["peak"], 0, cpu / took)
