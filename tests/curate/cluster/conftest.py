"""Ray clusters: one of this machine for the whole suite, one of two nodes by CURATE_TEST_RAY=1."""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.curate.cluster.nodes import Nodes
from tests.db.conftest import postgres_url
from tests.db.test_store import s3_server, s3_url

__all__ = ["postgres_url", "s3_server", "s3_url"]  # fixtures

# The clusters answer no stranger. Ray reads this once, when it is imported: before the tests are.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """A head; a second node may join, in a network namespace of its own where root permits."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed", exc_type=ImportError)
    if "CURATE_TEST_RAY" not in os.environ:
        pytest.skip("two Ray nodes: set CURATE_TEST_RAY=1 to start them")
    started = Nodes(apart=True)
    yield started
    started.end()


@pytest.fixture(scope="session")
def node() -> Iterator[Nodes]:
    """One node with two cores."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed", exc_type=ImportError)
    started = Nodes(num_cpus=2)
    yield started
    started.end()
