"""Scores from workers, on one real node: about 10 s."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import delete, select
from torch import Tensor

pytest.importorskip("ray", reason="the extra [ray] is not installed", exc_type=ImportError)

from curate.cluster.score import score_images_on_ray
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.scoring.fit import train_reward
from curate.scoring.score import score_images
from curate.workspace import Workspace
from db.models import Score
from rewards.backbones import Backbone
from rewards.config import RewardConfig
from rewards.model import RewardModel
from tests.curate.campaigns import create_campaign
from tests.curate.cluster.nodes import Nodes
from tests.curate.pictures import BrightnessEyes, add_pictures
from tests.curate.scoring.test_fit import Brightness

NUM_IMAGES = 1200  # more than two pages of 512: the first is done, the others are under way


class Mortal(Brightness):
    """Whoever finds the file takes it and dies, with a batch in hand."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def forward(self, images_B3HW: Tensor) -> Tensor:
        try:
            self.file.unlink()
        except FileNotFoundError:
            return super().forward(images_B3HW)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("this process is dead")


@pytest.mark.slow
def test_scores_are_those_of_one_machine_though_a_worker_is_killed(
    workspace: Workspace, node: Nodes, tmp_path: Path
) -> None:
    images = add_pictures(workspace, 60)
    campaign = create_campaign(workspace, name="first", images=images, raters=simulated_raters(3))
    simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=lambda _: None)
    backbone = Backbone("brightness", Mortal(tmp_path / "death"), 12)
    row = train_reward(workspace, RewardConfig(num_parts=2), backbone=backbone)
    model = RewardModel.load(workspace.store.local_path(row.file_sha256), backbone)
    add_pictures(workspace, NUM_IMAGES, first_seed=1000, sides=(16, 24))
    add_pictures(workspace, 5, first_seed=1000, sides=(16, 24))  # files that are there already
    lost: list[str] = []

    def note(event: str, **details: Any) -> None:
        lost.append(event)

    (tmp_path / "death").touch()
    shared = score_images_on_ray(
        workspace, row, advance=lambda _: None, address=node.address, note=note, model=model
    )
    assert lost == ["worker-lost"]
    found = scores(workspace)
    workspace.session.connection().execute(delete(Score))
    (workspace.cache / "features").rename(workspace.cache / "features-of-the-workers")
    alone = score_images(workspace, row, advance=lambda _: None, model=model)
    assert (shared.new, shared.unknown) == (alone.new, alone.unknown) == (NUM_IMAGES + 65, 0)
    assert found == scores(workspace)  # to the bit


def scores(ws: Workspace) -> dict[Any, tuple[float, float]]:
    return {one.image_id: (one.mean, one.spread) for one in ws.session.exec(select(Score))}
