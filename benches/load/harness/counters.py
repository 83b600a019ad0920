"""The processor's counters of a process (instructions and cycles, user and kernel), by perf_event_open(2).

They cost a few instructions at every switch of tasks, so they are on only while somebody counts. Where the kernel or the
machine has none (a container, many virtual machines), there is no Counters and the columns stay empty.
"""

import ctypes
import os
import struct
from pathlib import Path

PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
IOC_ENABLE, IOC_DISABLE = 0x2400, 0x2401
HARDWARE, CYCLES, INSTRUCTIONS = 0, 0, 1
# Bits of perf_event_attr: disabled, exclude_user, exclude_kernel, exclude_hv.
DISABLED, NO_USER, NO_KERNEL, NO_HYPERVISOR = 1 << 0, 1 << 4, 1 << 5, 1 << 6
ATTRIBUTE_BYTES = 112
EVENTS = {
    "instructions_user": (INSTRUCTIONS, NO_KERNEL),
    "instructions_kernel": (INSTRUCTIONS, NO_USER),
    "cycles_user": (CYCLES, NO_KERNEL),
    "cycles_kernel": (CYCLES, NO_USER),
}

_libc = ctypes.CDLL(None, use_errno=True)


def _open(thread, event, bits):
    """The descriptor of one counter of one thread, stopped."""
    attribute = struct.pack("<IIQQQQQ", HARDWARE, ATTRIBUTE_BYTES, event, 0, 0, 0, DISABLED | NO_HYPERVISOR | bits)
    attribute = ctypes.create_string_buffer(attribute.ljust(ATTRIBUTE_BYTES, b"\0"), ATTRIBUTE_BYTES)
    number = PERF_EVENT_OPEN[os.uname().machine]
    # PERF_FLAG_FD_CLOEXEC; any core, no group.
    fd = _libc.syscall(number, attribute, thread, -1, -1, ctypes.c_ulong(8))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


class Counters:
    """The counters of all threads that some processes have now."""

    def __init__(self, pids):
        threads = [int(task) for pid in pids for task in os.listdir(f"/proc/{pid}/task")]
        self.fds = {}
        try:
            for name, (event, bits) in EVENTS.items():
                self.fds[name] = []
                for thread in threads:
                    self.fds[name].append(_open(thread, event, bits))
        except OSError:
            self.close()
            raise

    def _each(self):
        return [fd for fds in self.fds.values() for fd in fds]

    def switch(self, on):
        for fd in self._each():
            _libc.ioctl(fd, IOC_ENABLE if on else IOC_DISABLE, 0)

    def read(self):
        """The counts so far, by name."""
        return {name: sum(struct.unpack("<Q", os.read(fd, 8))[0] for fd in fds) for name, fds in self.fds.items()}

    def close(self):
        for fd in self._each():
            os.close(fd)
        self.fds = {}


def available():
    """Whether this machine counts."""
    try:
        counters = Counters([os.getpid()])
    except (OSError, KeyError):
        return False
    counters.switch(True)
    sum(range(10000))
    counted = counters.read()["instructions_user"] > 0
    counters.close()
    return counted


def why_not():
    """What to say where nothing is counted."""
    setting = Path("/proc/sys/kernel/perf_event_paranoid")
    level = setting.read_text().strip() if setting.exists() else "-"
    return f"no hardware counters here (perf_event_paranoid is {level})"
