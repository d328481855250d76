"""Two real Ray nodes in processes of their own; one is killed while it works. About 40 s."""

from pathlib import Path

import pytest

from curate.doctor import examine
from curate.generate import plan_run, run_plan
from curate.generators_store import save_version
from curate.production.watch import run_states
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.base import Generator
from generators.config import SamplingSettings
from tests.curate.cluster.nodes import Nodes, wait_until

pytest.importorskip("ray", reason="the extra [ray] is not installed")

COUNT, STEPS, BATCH = 60, 20, 4
GENERATE = (
    *("generate", "--prompt", "OCT: drusen", "--prompt", "OCT: healthy", "--steps", str(STEPS)),
    *("--batch-size", str(BATCH), "--count", str(COUNT)),
)


def make_workspace(folder: Path, generator: Generator) -> Path:
    init_workspace(folder)
    generator.save(folder / "tiny")
    with open_workspace(folder) as ws:
        save_version(
            ws, folder / "tiny", generator_name="t", family="text-to-image", how_made="imported"
        )
    return folder


def pixels(ws: Workspace) -> dict[str | None, str]:
    return {image.item_key: image.pixels_sha256 for image, _ in queries.images(ws.session)}


@pytest.mark.slow
@pytest.mark.timeout(900)  # on a busy machine; about 40 s on an idle one
def test_a_node_killed_in_the_middle_costs_nothing_and_every_image_is_the_same(
    tmp_path: Path, tiny_generator: Generator, nodes: Nodes
) -> None:
    alone = make_workspace(tmp_path / "alone", tiny_generator)
    shared = make_workspace(tmp_path / "shared", tiny_generator)
    doomed = nodes.join()
    make_alone(alone)
    command = nodes.curate(*GENERATE, "--ray", nodes.address, "--workspace", str(shared))
    wait_until(lambda: is_in_the_middle(shared) or command.poll() is not None)
    nodes.kill(doomed)
    _, told = command.communicate(timeout=600)
    assert command.returncode == 0, told
    assert "worker lost" in told
    with open_workspace(alone) as one, open_workspace(shared) as other:
        assert len(pixels(one)) == 2 * COUNT
        assert pixels(other) == pixels(one)
        assert examine(other).findings == []


def make_alone(folder: Path) -> None:
    """Make the same images on one machine, without Ray."""
    with open_workspace(folder) as ws:
        version = queries.find_version(ws.session, "latest")
        prompts = [
            queries.get_or_add_prompt(ws.session, modality="OCT", text=text)
            for text in ("drusen", "healthy")
        ]
        settings = SamplingSettings(num_steps=STEPS, batch_size=BATCH)
        run_plan(
            ws, plan_run(ws, version, prompts, count=COUNT, settings=settings), lambda done: None
        )


def is_in_the_middle(folder: Path) -> bool:
    """Say whether both nodes are at work, or one of them has not much left to do."""
    return any(state.num_workers == 2 or state.made > COUNT / 2 for state in run_states(folder))
