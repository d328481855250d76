"""What a user is told of a cluster that cannot be joined."""

import importlib
import sys

import pytest

pytest.importorskip("ray", reason="the extra [ray] is not installed", exc_type=ImportError)

from curate.cluster.joining import connected, refusal
from curate.cluster.on_ray import ray_installed
from curate.errors import CurateError
from tests.curate.cluster.nodes import free_port


@pytest.mark.parametrize("address", ["cluster", "cluster:", ":6379", "cluster:head"])
def test_an_address_needs_host_and_port(address: str) -> None:
    with pytest.raises(CurateError, match=f"--ray {address}: give auto, local, or the HOST:PORT"):
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


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("curate.cluster.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(
        CurateError, match=r"not installed \(ray\).*pip install 'curate-images\[ray\]'"
    ):
        with ray_installed():
            importlib.import_module("curate.cluster.generate")
