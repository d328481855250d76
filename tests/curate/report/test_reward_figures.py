from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import nn

from curate.report.reward_figures import reward_figures
from curate.samples.pixels import png_bytes
from curate.scoring.fit import train_reward
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.queries.images import ScoredImage
from rewards.backbones import Backbone
from rewards.config import RewardConfig
from rewards.model import RewardModel
from rewards.saliency import saliency
from tests.curate.pictures import add_pictures, picture
from tests.curate.scoring.test_fit import Brightness, rate


class UpperHalf(nn.Module):
    """The brightness of the upper half, in twelve steps: what the lower half shows is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.linspace(0, 1, 12))

    def forward(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        half = images_B3HW[:, :, : images_B3HW.shape[2] // 2]
        return torch.tanh(5 * (half.mean(dim=(1, 2, 3))[:, None] - self.levels))


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("fitted") / "workspace"
    init_workspace(folder)
    with open_workspace(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def fitted(ws: Workspace) -> tuple[Any, Backbone]:
    """The row of a model of the workspace, fitted once for all tests here."""
    backbone = Backbone("upper half", UpperHalf(), 12)
    rate(ws, add_pictures(ws, 60, num_prompts=12))
    return train_reward(ws, RewardConfig(), backbone=backbone), backbone


def test_the_map_is_bright_where_the_model_looks(
    ws: Workspace, fitted: tuple[Any, Backbone]
) -> None:
    row, backbone = fitted
    model = RewardModel.load(ws.store.local_path(row.file_sha256), backbone)
    images = torch.full((1, 3, 32, 32), 0.5)
    heat_HW = saliency(model, images, ["OCT"], ["finding 1"])[0]
    assert heat_HW.min() >= 0 and heat_HW.max() == 1
    assert heat_HW[:12].mean() > 0.8
    assert heat_HW[20:].mean() < 0.1


def test_the_page_gets_plots_tables_and_overlays(
    ws: Workspace, fitted: tuple[Any, Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    row, backbone = fitted
    monkeypatch.setattr("rewards.model.load_backbone", lambda name: backbone)
    [sha] = queries.files.add_files(
        ws.session, ws.store, [(png_bytes(picture(0.5, 1)), "image/png")]
    )
    nothing: dict[str, Any] = dict.fromkeys(field.name for field in fields(ScoredImage))
    prompt = queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="x")
    shown = {"file_sha256": sha, "modality": "OCT", "text": "x", "prompt_id": prompt.id}
    image = ScoredImage(**{**nothing, **shown})
    found = reward_figures(ws, row, [image])
    assert found is not None
    assert found.reliability is not None and found.reliability.startswith("data:image/png")
    assert found.learning_curve is not None
    assert {habits["rater"] for habits in found.raters} == {f"simulated-{n}" for n in (1, 2, 3)}
    assert len(found.overlays) == 1


def test_a_model_that_cannot_be_opened_any_more_keeps_its_figures(
    ws: Workspace, fitted: tuple[Any, Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = fitted
    other = Backbone("brightness", Brightness(), 12)
    monkeypatch.setattr("rewards.model.load_backbone", lambda name: other)
    found = reward_figures(ws, row, [])
    assert found is not None
    assert found.overlays == () and found.reliability is not None
