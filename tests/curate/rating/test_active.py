from typing import Any

import pytest
from sqlmodel import select

from curate.rating.active import BY_LOT, select_active
from curate.samples.features import features_of
from curate.scoring.fit import load_reward_model, train_reward
from curate.workspace import Workspace
from db import queries
from db.models import Image
from rewards.backbones import Backbone
from rewards.model import RewardModel
from tests.curate.pictures import add_pictures
from tests.curate.scoring.test_fit import QUICK, Brightness, rate


@pytest.fixture
def backbone() -> Backbone:
    return Backbone("brightness", Brightness(), 12)


@pytest.fixture
def ids(workspace: Workspace) -> set[Any]:
    """Sixty images of which nobody has rated any."""
    return {image.id for image in add_pictures(workspace, 60)}


def _images(ws: Workspace) -> list[Image]:
    return list(ws.session.exec(select(Image).order_by(Image.pixels_sha256)))


def test_a_batch_is_as_large_as_asked_and_the_same_for_the_same_seed(
    workspace: Workspace, ids: set[Any]
) -> None:
    images = _images(workspace)
    one, two, other = (
        select_active(workspace, images, count=20, seed=seed, model=None) for seed in (0, 0, 1)
    )
    assert len({image.id for image in one.images}) == 20
    assert [image.id for image in one.images] == [image.id for image in two.images]
    assert {image.id for image in one.images} != {image.id for image in other.images}
    assert {image.id for image in one.images} <= ids


def test_a_chosen_image_stands_for_itself_and_a_drawn_one_for_its_share(
    workspace: Workspace, ids: set[Any]
) -> None:
    chosen = select_active(workspace, _images(workspace), count=20, seed=0)
    num_by_lot = round(BY_LOT * 20)
    shares = chosen.inclusion_probabilities
    assert list(shares) == [1.0] * (20 - num_by_lot) + [num_by_lot / 42] * num_by_lot
    assert sum(1 / share for share in shares) == pytest.approx(60)  # they stand for all


def test_all_images_asked_for_are_all_images(workspace: Workspace, ids: set[Any]) -> None:
    chosen = select_active(workspace, _images(workspace), count=100, seed=0)
    assert len(chosen.images) == 60 and set(chosen.inclusion_probabilities) == {1.0}


def test_what_was_rated_since_is_known_and_its_likes_wait(workspace: Workspace) -> None:
    old = add_pictures(workspace, 24)
    new = add_pictures(workspace, 12, modality="CXR", first_seed=100)
    rate(workspace, old[:12])
    chosen = select_active(workspace, [*old[12:], *new], count=10, seed=0)
    assert sum(image in new for image in chosen.images) >= 6


def test_a_fitted_model_asks_where_it_is_unsure(workspace: Workspace, backbone: Backbone) -> None:
    rated = add_pictures(workspace, 44, num_prompts=11)
    rate(workspace, rated)
    train_reward(workspace, QUICK, backbone=backbone)
    model = load_reward_model(workspace, backbone=backbone)
    waiting = add_pictures(workspace, 40, num_prompts=11, first_seed=200)
    chosen = select_active(workspace, waiting, count=10, seed=0, model=model)
    spread = {
        image.id: score
        for image, score in zip(waiting, _spreads(workspace, model, waiting), strict=True)
    }
    usual = sum(spread.values()) / 40
    assert sum(spread[image.id] for image in chosen.images[:9]) / 9 > usual


def _spreads(ws: Workspace, model: RewardModel, images: list[Image]) -> list[float]:
    prompts = queries.prompts.prompts_of(ws.session, images)
    features = features_of(ws, model.backbone, [image.file_sha256 for image in images])
    asked = [prompt.modality for prompt in prompts], [prompt.text for prompt in prompts]
    spreads: list[float] = model.predict_features(features, *asked)[1].tolist()
    return spreads
