"""Starts the proxies and the origin, checks that each answers as it must, and ends them."""

import http.client
import ssl
import subprocess
import sys
from dataclasses import dataclass

from . import tools
from .processes import LOAD_CORE, PROXY_CORE, Process, listening, wait_until
from .proxies import PROXIES, Place

# The origin has the first, each proxy the next two: its own and its administration's.
FIRST_PORT = 18580


@dataclass
class Running:
    """A proxy that serves."""

    name: str
    port: int
    admin: int
    process: Process


class Servers:
    """What runs for the length of the bench; each start takes ports of its own."""

    def __init__(self, built, folder):
        self.built, self.folder = built, folder
        self.next_port = FIRST_PORT
        self.started = []
        self.origin_port = self.free_port()
        command = [built["floor"], "origin", "--port", self.origin_port]
        self.origin = Process(command, LOAD_CORE, folder / "origin.log")
        self.started.append(self.origin)
        wait_until("the origin listens", lambda: listening(self.origin_port))

    def free_port(self):
        while True:
            self.next_port += 1
            if not listening(self.next_port):
                return self.next_port

    def certificate(self):
        """One file with a certificate and its key, ECDSA P-256."""
        path = self.folder / "certificate.pem"
        if not path.exists():
            tools.make_certificate(path)
        return path

    def start(self, name, has_tls=False, has_http2=False):
        """Starts a proxy and waits until it listens."""
        port, admin = self.free_port(), self.free_port()
        folder = self.folder / f"{name}-{port}"
        folder.mkdir()
        # nginx's worker does not run as root.
        folder.chmod(0o755)
        certificate = self.certificate() if has_tls else None
        place = Place(folder, port, admin, self.origin_port, self.built, certificate, has_http2)
        process = Process(PROXIES[name].command(place), PROXY_CORE, folder / "log")
        self.started.append(process)
        wait_until(f"{name} listens", lambda: listening(port) or not process.is_running())
        if not process.is_running():
            sys.exit(f"{name} ended:\n{process.log.read_text()}")
        return Running(name, port, admin, process)

    def stop(self, running):
        running.process.stop()
        self.started.remove(running.process)

    def stop_all(self):
        for process in reversed(self.started):
            process.stop()


def check(running, workload):
    """One request, and whether the answer is what the workload says."""
    status, size = ask_over_http2(running, workload) if workload.streams else ask(running, workload)
    if status != 200 or size != workload.answer_bytes:
        sys.exit(f"{running.name} answered {workload.name} with {status} and {size} bytes")


def ask(running, workload):
    if workload.tls:
        # Its certificate is its own; who serves is known.
        trusting = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", running.port, timeout=10, context=trusting)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    method, body = ("POST", b"x" * workload.body_bytes) if workload.body_bytes else ("GET", None)
    connection.request(method, workload.path, body)
    answer = connection.getresponse()
    size = len(answer.read())
    connection.close()
    return answer.status, size


def ask_over_http2(running, workload):
    scheme, option = ("https", "--http2") if workload.tls else ("http", "--http2-prior-knowledge")
    command = [tools.find("curl"), "--silent", "--insecure", "--max-time", "10", option, "--output", "-"]
    command += ["--data-binary", "@-"] if workload.body_bytes else []
    command += ["--write-out", " %{http_version} %{http_code}", f"{scheme}://127.0.0.1:{running.port}{workload.path}"]
    done = subprocess.run(command, input=b"x" * workload.body_bytes, capture_output=True)
    body, version, status = done.stdout.rsplit(b" ", 2)
    if version != b"2":
        sys.exit(f"{running.name} speaks no HTTP/2 under {workload.name}")
    return int(status), len(body)
