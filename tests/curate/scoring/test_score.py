import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sqlmodel import select

from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.samples.formats import read_sample
from curate.scoring.fit import train_reward
from curate.scoring.score import Which, count_scored, score_images, scores_of_samples
from curate.workspace import Workspace, open_workspace
from db import queries
from db.models import RewardModel as RewardModelRow
from db.models import Score
from generators.base import Prompt
from rewards.backbones import Backbone
from rewards.config import RewardConfig
from rewards.model import RewardModel
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import BrightnessEyes, add_pictures
from tests.curate.scoring.test_fit import Brightness


@pytest.fixture
def backbone() -> Backbone:
    return Backbone("brightness", Brightness(), 12)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, _empty_workspace: Path) -> Path:
    """A workspace with a reward model fitted to 60 rated pictures."""
    folder = tmp_path_factory.mktemp("fitted") / "workspace"
    shutil.copytree(_empty_workspace, folder)
    with open_workspace(folder) as ws:
        campaign = create_campaign(
            ws, name="first", images=add_pictures(ws, 60), raters=simulated_raters(3)
        )
        simulate_campaign(ws, campaign, eyes=BrightnessEyes(), advance=lambda _: None)
        backbone = Backbone("brightness", Brightness(), 12)
        train_reward(ws, RewardConfig(num_parts=2), backbone=backbone)
    return folder


@pytest.fixture
def workspace(tmp_path: Path, fitted: Path) -> Iterator[Workspace]:
    """A copy of it, open."""
    with open_workspace(shutil.copytree(fitted, tmp_path / "workspace")) as opened:
        yield opened


@pytest.fixture
def row(workspace: Workspace) -> RewardModelRow:
    return queries.reward_models.find_reward_model(workspace.session)


@pytest.fixture
def model(workspace: Workspace, row: RewardModelRow, backbone: Backbone) -> RewardModel:
    return RewardModel.load(workspace.store.local_path(row.file_sha256), backbone)


def nothing(_: int) -> None:
    """Show no progress."""


def scores(ws: Workspace) -> list[Score]:
    return list(ws.session.exec(select(Score)))


def test_every_image_is_scored_once(
    workspace: Workspace, row: RewardModelRow, model: RewardModel
) -> None:
    done: list[int] = []
    first = score_images(workspace, row, advance=done.append, model=model)
    assert (first.new, first.already, first.unknown, first.simulated) == (60, 0, 0, True)
    assert sum(done) == 60
    add_pictures(workspace, 10, first_seed=1000, sides=(24,))
    again = score_images(workspace, row, advance=nothing, model=model)
    assert (again.new, again.already) == (10, 60)
    found = scores(workspace)
    assert len(found) == 70
    assert all(0 <= score.mean <= 1 and score.spread > 0 for score in found)
    assert count_scored(workspace, row) == (70, 70)


def test_samples_without_a_row_are_scored_as_stored_ones_are(
    workspace: Workspace, row: RewardModelRow, model: RewardModel
) -> None:
    score_images(workspace, row, advance=nothing, model=model)
    stored = {one.image_id: (one.mean, one.spread) for one in scores(workspace)}
    known = queries.images.images(workspace.session)
    prompt_id = known[0][1].id
    same = [image for image, prompt in known if prompt.id == prompt_id][:5]
    samples = [read_sample(workspace.store, image.file_sha256) for image in same]
    prompt = Prompt(known[0][1].modality, known[0][1].text)
    found = scores_of_samples(model, prompt, samples)
    assert found is not None and len(set(found)) == len(same) == 5
    for image, (mean, spread) in zip(same, found, strict=True):
        assert (mean, spread) == pytest.approx(stored[image.id], abs=1e-5)
    assert scores_of_samples(model, Prompt("Fundus", "drusen"), samples) is None


def test_a_score_is_what_the_model_predicts(
    workspace: Workspace, row: RewardModelRow, model: RewardModel
) -> None:
    from curate.samples.renderings import rgb
    from db.models import Image
    from db.models import Prompt as PromptRow

    score_images(workspace, row, advance=nothing, model=model)
    for score in scores(workspace)[:5]:
        image = workspace.session.get_one(Image, score.image_id)
        prompt = workspace.session.get_one(PromptRow, image.prompt_id)
        pixels = rgb(read_sample(workspace.store, image.file_sha256))
        with torch.no_grad():
            mean_B, spread_B = model.predict(pixels[None], [prompt.modality], [prompt.text])
        assert score.mean == pytest.approx(mean_B.item(), abs=1e-5)
        assert score.spread == pytest.approx(spread_B.item(), abs=1e-5)


def test_stopped_scoring_goes_on_where_it_stood(
    workspace: Workspace,
    row: RewardModelRow,
    model: RewardModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("curate.scoring.score.IMAGES_A_BATCH", 4)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_images(workspace, row, advance=stop, model=model)
    assert len(scores(workspace)) == 32
    rest = score_images(workspace, row, advance=nothing, model=model)
    assert (rest.new, rest.already) == (28, 32)


def test_a_modality_nobody_rated_is_counted_and_left_without_a_score(
    workspace: Workspace, row: RewardModelRow, model: RewardModel
) -> None:
    add_pictures(workspace, 7, modality="CXR", first_seed=500)
    done = score_images(workspace, row, advance=nothing, model=model)
    assert (done.new, done.unknown) == (60, 7)


def test_only_what_was_asked_for_is_scored(
    workspace: Workspace, row: RewardModelRow, model: RewardModel
) -> None:
    none = score_images(
        workspace, row, advance=nothing, which=Which(origin="synthetic"), model=model
    )
    assert (none.new, none.already) == (0, 0)
    real = score_images(workspace, row, advance=nothing, which=Which(origin="real"), model=model)
    assert real.new == 60
