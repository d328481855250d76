"""What a user is told of a cluster that cannot be joined."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="the extra [ray] is not installed")

from curate.cluster.joining import connected, refusal
from curate.errors import CurateError
from tests.curate.cluster.nodes import ROOT, environment, free_port

WITHOUT_RAY = """
import sys
sys.modules["ray"] = None  # as if it were not installed
import cli
cli.app(sys.argv[1:], prog_name="curate")
"""


@pytest.mark.parametrize("address", ["cluster", "cluster:", ":6379", "cluster:head"])
def test_an_address_needs_host_and_port(address: str) -> None:
    with pytest.raises(CurateError, match=f"--ray {address}: needed is auto, or the HOST:PORT"):
        with connected(address):
            pass


def test_where_nobody_listens_it_is_said_at_once() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(CurateError, match=f"No Ray cluster at {address}: .*refused.*ray start"):
        with connected(address):
            pass


def test_other_versions_and_other_doors_are_told_apart() -> None:
    versions = RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n")
    assert "has other versions than this machine" in str(refusal("a:1", versions))
    assert "Ray: 2.9.0 Install" in str(refusal("a:1", versions))
    other = ConnectionError("Failed to connect to Ray cluster at a:1")
    assert "Does the cluster ask for a token?" in str(refusal("a:1", other))


def test_without_the_extra_its_name_is_told(tmp_path: Path) -> None:
    here: Any = {"cwd": ROOT, "env": environment(), "capture_output": True, "text": True}
    subprocess.run([sys.executable, "cli.py", "init", str(tmp_path)], **here, check=True)
    asked = ("generate", "--prompt", "OCT: drusen", "--count", "1", "--ray", "auto")
    command = [sys.executable, "-c", WITHOUT_RAY, *asked, "--workspace", str(tmp_path)]
    done = subprocess.run(command, **here)
    assert done.returncode == 1
    assert "pip install 'curate-images[ray]'" in done.stderr.splitlines()[-1]
