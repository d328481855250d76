"""Volumes made in windows by the workers of two nodes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from tests.curate.clinical.test_whole_volumes import files_made, study
from tests.curate.cluster.nodes import Nodes

pytest.importorskip("ray", reason="the extra [ray] is not installed", exc_type=ImportError)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_of_a_cluster_make_the_same_bytes(tmp_path: Path, nodes: Nodes) -> None:
    nodes.join()
    here = study(tmp_path / "here", "clinical", range(5))
    assert CliRunner().invoke(cli.app, here).exit_code == 0
    there = study(tmp_path / "there", "clinical", range(5))
    command = nodes.curate(*there, "--ray", nodes.address)
    _, told = command.communicate(timeout=500)
    assert command.returncode == 0, told
    assert files_made(tmp_path / "there") == files_made(tmp_path / "here")
