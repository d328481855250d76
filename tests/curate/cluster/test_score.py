"""Scores from workers, on one real node: about 10 s."""

import os
import signal
from typing import Any

import pytest
from sqlmodel import delete, select

pytest.importorskip("ray", reason="the extra [ray] is not installed", exc_type=ImportError)

from curate.cluster.score import score_images_on_ray
from curate.rating.answers import create_campaign, simulate_campaign, simulated_raters
from curate.scoring.fit import train_reward
from curate.scoring.score import score_images
from curate.workspace import Workspace
from db.models import Score
from rewards.backbones import Backbone
from rewards.config import RewardConfig
from rewards.model import RewardModel
from tests.curate.cluster.nodes import Nodes, command_line, processes_of
from tests.curate.pictures import BrightnessEyes, add_pictures
from tests.curate.scoring.test_fit import Brightness

NUM_IMAGES = 1200  # more than two pages of 512: the first is done, the others are under way


def kill_one_worker(node: Nodes) -> bool:
    """Kill a process that computes features; say whether there was one."""
    for process in processes_of(node.head.pid):
        if b"FeatureWorker" in command_line(process):
            os.kill(process, signal.SIGKILL)
            return True
    return False


@pytest.mark.slow
def test_scores_are_those_of_one_machine_though_a_worker_is_killed(
    workspace: Workspace, node: Nodes
) -> None:
    images = add_pictures(workspace, 60)
    campaign = create_campaign(workspace, name="first", images=images, raters=simulated_raters(3))
    simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=lambda _: None)
    backbone = Backbone("brightness", Brightness(), 12)
    row = train_reward(workspace, RewardConfig(), backbone=backbone)
    model = RewardModel.load(workspace.store.local_path(row.file_sha256), backbone)
    add_pictures(workspace, NUM_IMAGES, first_seed=1000, sides=(16, 24))
    add_pictures(workspace, 5, first_seed=1000, sides=(16, 24))  # files that are there already
    killed: list[bool] = []
    lost: list[str] = []

    def note(event: str, **details: Any) -> None:
        lost.append(event)

    def kill_at_first(number: int) -> None:
        if not killed:  # that it is lost is noticed later
            killed.append(kill_one_worker(node))

    shared = score_images_on_ray(
        workspace, row, advance=kill_at_first, address=node.address, note=note, model=model
    )
    assert (killed, lost) == ([True], ["worker-lost"])
    found = scores(workspace)
    workspace.session.connection().execute(delete(Score))
    (workspace.cache / "features").rename(workspace.cache / "features-of-the-workers")
    alone = score_images(workspace, row, advance=lambda _: None, model=model)
    assert (shared.new, shared.unknown) == (alone.new, alone.unknown) == (NUM_IMAGES + 65, 0)
    assert found == scores(workspace)  # to the bit


def scores(ws: Workspace) -> dict[Any, tuple[float, float]]:
    return {one.image_id: (one.mean, one.spread) for one in ws.session.exec(select(Score))}
