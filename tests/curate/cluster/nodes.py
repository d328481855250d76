"""Ray nodes in processes of their own, the second in a network of its own where we may make one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
HERE, THERE = "198.51.100.1", "198.51.100.2"  # RFC 5737: of no one
Process = subprocess.Popen[str]


def environment() -> dict[str, str]:
    """What a command on a node's machine is run with."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # where Ray adds 15, tests wait long on a busy machine
    }


class Nodes:
    """A head of so many cores; nodes of one core may join. `apart`: in a network of their own."""

    def __init__(self, *, num_cpus: int = 1, apart: bool = False) -> None:
        self._temporary = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie below it
        self._log = Path(self._temporary) / "starts.log"
        self._processes: list[Process] = []
        self.network = Network.make() if apart else None
        self.address = f"{HERE if self.network else '127.0.0.1'}:{free_port()}"
        self.head = self._start(
            f"--port={self.address.rpartition(':')[2]}",
            f"--node-ip-address={self.address.rpartition(':')[0]}",
            *("--head", f"--temp-dir={self._temporary}", "--include-dashboard=false"),
            num_cpus=num_cpus,
        )
        wait_until(self._is_up)

    def join(self) -> Process:
        """Let another node join; it is in its own network namespace where there is one."""
        own = () if self.network is None else (f"--node-ip-address={THERE}",)
        prefix = () if self.network is None else self.network.inside
        return self._start(f"--address={self.address}", *own, prefix=prefix)

    def kill(self, node: Process) -> None:
        """Cut a node's power: the network falls silent first, then all processes die."""
        if self.network is not None and node is not self.head:
            self.network.cut()
        kill(node)

    def end(self) -> None:
        """Leave nothing behind."""
        for process in reversed(self._processes):
            kill(process)
        if self.network is not None:
            self.network.remove()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def curate(self, *arguments: str) -> Process:
        """Start a command on the head's machine."""
        self._processes.append(start_curate(*arguments))
        return self._processes[-1]

    def _start(self, *options: str, prefix: tuple[str, ...] = (), num_cpus: int = 1) -> Process:
        common = ("--block", f"--num-cpus={num_cpus}", "--object-store-memory=100000000")
        command = [*prefix, sys.executable, "-m", "ray.scripts.scripts", "start", *common, *options]
        with self._log.open("a") as log:
            process = subprocess.Popen(
                command,
                env=environment(),
                text=True,
                start_new_session=True,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def _is_up(self) -> bool:
        if self.head.poll() is not None:
            said = self._log.read_text(errors="replace").strip() or "it wrote nothing"
            self.end()
            pytest.skip(f"Ray does not start here: {said.splitlines()[-1]}")
        host, _, port = self.address.rpartition(":")
        probe = [
            sys.executable,
            "-c",
            f"import socket; socket.create_connection(({host!r}, {port}))",
        ]
        return subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0


class Network:
    """A network namespace, and the cable from here to it."""

    def __init__(self, name: str) -> None:
        self._name, self._cable = name, f"{name[:12]}-a"
        self.inside = ("ip", "netns", "exec", name)

    @classmethod
    def make(cls) -> "Network | None":
        """Return a new one, or None where this user may make none."""
        if os.geteuid() != 0 or shutil.which("ip") is None:
            return None
        network = cls(f"curate{os.getpid()}")
        name, here, there = network._name, network._cable, f"{network._name[:12]}-b"
        inside = " ".join(network.inside)
        lines = (
            f"ip netns add {name}",
            f"ip link add {here} type veth peer name {there}",
            f"ip link set {there} netns {name}",
            f"ip addr add {HERE}/30 dev {here}",
            f"ip link set {here} up",
            f"{inside} ip addr add {THERE}/30 dev {there}",
            f"{inside} ip link set {there} up",
            f"{inside} ip link set lo up",
        )
        for line in lines:
            if subprocess.run(line.split(), stderr=subprocess.DEVNULL).returncode:
                network.remove()
                return None
        return network

    def cut(self) -> None:
        """Pull the cable: what is sent is lost, nobody is told."""
        subprocess.run(["ip", "link", "set", self._cable, "down"], check=True)

    def remove(self) -> None:
        """Remove the namespace and its cable, as far as they were made."""
        for line in (f"ip netns del {self._name}", f"ip link del {self._cable}"):
            subprocess.run(line.split(), stderr=subprocess.DEVNULL)


def start_curate(*arguments: str) -> Process:
    command = [sys.executable, "cli.py", *arguments]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, **pipes)


def kill(process: Process) -> None:
    """End a process with all its descendants, at once."""
    for each in processes_of(process.pid):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait(30)


def processes_of(parent: int) -> list[int]:
    """Return a process with its descendants."""
    found = [parent]
    for process in found:
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        except FileNotFoundError:
            continue
        found += [int(child) for child in children]
    return found


def command_line(process: int) -> bytes:
    """Return a process's command line; nothing where it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(holds: Callable[[], bool], *, within_s: float = 600) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
