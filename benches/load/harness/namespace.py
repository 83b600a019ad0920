"""A network of the bench's own, so that the host's choice of congestion control is in no figure.

Under BBR the kernel paces large sends by timers, whose interrupts in a virtual machine cost more than the bytes.
"""

import ctypes
import fcntl
import socket
import struct
from pathlib import Path

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
# The kernel's default, and what every network may choose.
WANTED = ("cubic", "reno")


def enter():
    """Moves this process, and what it starts, to a new network with nothing but a loopback. Without the right to, or
    where the host has the default, it stays."""
    if CONTROL.read_text().strip() in WANTED or ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    for control in WANTED:
        try:
            CONTROL.write_text(control)
            return
        except OSError:
            continue


def control():
    """The congestion control in use."""
    return CONTROL.read_text().strip()
