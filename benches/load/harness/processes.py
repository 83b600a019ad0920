"""Processes pinned to a core: starting them, what they have used of the processor and of memory, ending them."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

PROXY_CORE, LOAD_CORE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")
# Ahead of whatever else runs on the core; only root may.
NICENESS = -20


def prepare(core):
    """What a child does before it becomes another program."""

    def pin():
        os.sched_setaffinity(0, {core})
        try:
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        except PermissionError:
            pass

    return pin


def real_time(pids, on):
    """Puts all threads of these processes before everything else on their cores, or back; only root may.

    For loads that leave the core time: one that does not is stopped by the kernel for 50 ms a second.
    """
    policy, priority = (os.SCHED_FIFO, 10) if on else (os.SCHED_OTHER, 0)
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                os.sched_setscheduler(int(thread), policy, os.sched_param(priority))
            except PermissionError:
                return


class Process:
    """A running program, with the processes that it starts."""

    def __init__(self, command, core, log, is_dialogue=False):
        self.log = Path(log)
        pipe = subprocess.PIPE if is_dialogue else None
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or out,
                stderr=out,
                text=True,
                preexec_fn=prepare(core),
            )

    def pids(self):
        """The process and its children."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid] + [int(child) for child in children]

    def cpu_ns(self):
        """User and system time so far, to the nanosecond, of running threads too."""
        # CPUCLOCK_SCHED of a whole process (clock_getcpuclockid(3)).
        return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in self.pids())

    def ticks(self):
        """(user, system) so far; the kernel scales what its timer sampled to the exact sum."""
        user = system = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user, system = user + int(fields[11]), system + int(fields[12])
        return user, system

    def waited_ns(self):
        """How long its threads were ready to run while something else ran."""
        waited = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                waited += int((task / "schedstat").read_text().split()[1])
        return waited

    def memory(self):
        """Bytes: the share of memory that is its own (pss), of that not backed by files (anonymous), and rss's peak."""
        pss = anonymous = peak = 0
        for pid in self.pids():
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            pss += _kib(rollup, "Pss")
            anonymous += _kib(rollup, "Pss_Anon")
            peak += _kib(Path(f"/proc/{pid}/status").read_text(), "VmHWM")
        return {"pss": pss * 1024, "anonymous": anonymous * 1024, "peak": peak * 1024}

    def ask(self, line):
        """Writes a line to it and waits for its answer."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[:2]} ended:\n{self.log.read_text()}")
        return line.strip()

    def is_running(self):
        return self.process.poll() is None

    def stop(self):
        if self.process.stdin:
            self.process.stdin.close()
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _kib(text, name):
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0


def core_ticks(core):
    """What a core has done so far: busy (softirq and interrupts included), softirq, steal."""
    for row in Path("/proc/stat").read_text().splitlines():
        fields = row.split()
        if fields[0] == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
            return {"busy": user + nice + system + irq + softirq, "softirq": softirq, "steal": steal}
    sys.exit(f"there is no core {core}: this bench needs two")


def listening(port):
    """Whether anybody listens there; a stale SO_REUSEPORT socket would take a share of the connections."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in Path(table).read_text().splitlines()[1:]:
            fields = row.split()
            if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
                return True
    return False


def wait_until(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.02)
