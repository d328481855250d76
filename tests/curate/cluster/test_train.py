"""Two processes that Ray Train joins, one of them killed, against two that torchrun starts."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from curate.production.versions import save_version
from curate.workspace import init_workspace, open_workspace
from generators.diffusion.generator import DiffusionGenerator
from tests.curate.cluster.nodes import (
    ROOT,
    Nodes,
    command_line,
    environment,
    processes_of,
    wait_until,
)
from tests.curate.training.conftest import add_pictures
from tests.curate.training.rated import rated_workspace

TRAIN = (
    *("train-generator", "--steps", "40", "--batch-size", "4", "--micro-batch", "2"),
    *("--validate-every", "20", "--checkpoint-every", "1", "--samples", "0", "--json"),
)
RL_STEP = (
    *("rl-step", "--updates", "12", "--prompts-per-update", "2", "--group-size", "8"),
    *("--steps", "5", "--kl-target", "10", "--json"),
)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "CURATE_TEST_RAY" not in os.environ,
        reason="trainings on two Ray workers: set CURATE_TEST_RAY=1 to run them",
    ),
    pytest.mark.timeout(1800),  # on a busy machine; about a minute each on an idle one
]


def test_a_training_on_ray_ends_with_the_weights_of_torchrun_though_a_worker_is_killed(
    tmp_path: Path, tiny_generator: DiffusionGenerator, node: Nodes
) -> None:
    shared = make_workspace(tmp_path / "shared", tiny_generator)
    made = killed_once(node, shared, TRAIN, log="cache/train-generator/*/steps.jsonl")
    alone = make_workspace(tmp_path / "alone", tiny_generator)
    assert made == by_torchrun(alone, TRAIN)  # the version's name hashes the weights


def test_an_rl_step_on_ray_ends_with_the_weights_of_torchrun_though_a_worker_is_killed(
    tmp_path: Path, node: Nodes
) -> None:
    shared = rated_workspace(tmp_path / "shared")
    alone = shutil.copytree(shared, tmp_path / "alone")
    made = killed_once(node, shared, RL_STEP, log="cache/rl/*/updates.jsonl")
    assert made == by_torchrun(alone, RL_STEP)


def killed_once(node: Nodes, folder: Path, words: tuple[str, ...], *, log: str) -> str:
    """Run on Ray, kill a worker once the log has begun; return the version that was made."""
    command = node.curate(*words, "--workspace", str(folder), "--ray", node.address)
    wait_until(lambda: lines_of(folder, log) > 0 or command.poll() is not None)
    assert command.poll() is None, command.communicate()
    os.kill(training_workers(node)[0], signal.SIGKILL)
    said, told = command.communicate(timeout=600)
    assert command.returncode == 0, told
    assert "worker lost" in told
    version: str = json.loads(said)["version"]
    return version


def make_workspace(folder: Path, generator: DiffusionGenerator) -> Path:
    init_workspace(folder)
    generator.save(folder / "tiny")
    with open_workspace(folder) as ws:
        add_pictures(ws, "OCT", "drusen", 6, "train")
        add_pictures(ws, "OCT", "drusen", 2, "val")
        save_version(
            ws, folder / "tiny", generator_name="t", family="text-to-image", how_made="imported"
        )
    return folder


def lines_of(folder: Path, log: str) -> int:
    logs = list(folder.glob(log))
    return len(logs[0].read_text().splitlines()) if logs else 0


def training_workers(node: Nodes) -> list[int]:
    return [
        process
        for process in processes_of(node.head.pid)
        if b"RayTrainWorker" in command_line(process)
    ]


def by_torchrun(folder: Path, words: tuple[str, ...]) -> str:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "cli.py"]
    done = subprocess.run(
        [*launch, *words, "--workspace", str(folder)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    version: str = json.loads(done.stdout)["version"]
    return version
