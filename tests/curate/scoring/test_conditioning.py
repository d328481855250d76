"""Scores, judges and RL's reward when only a mask, or a record's field, tells good from bad."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sqlmodel import select
from torch import Tensor

from curate.evaluation.judge import Judge, find_judge, to_judge, tops
from curate.production.images import prompt_value
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.samples.formats import encode, read_sample
from curate.samples.pixels import pixels_hash, png_bytes
from curate.samples.renderings import rgb
from curate.scoring.conditioning import conditioning_features
from curate.scoring.fit import train_reward
from curate.scoring.score import score_images
from curate.training.rl_step import reward_of
from curate.workspace import Workspace
from db import queries
from db.models import Image, Prompt, Score
from generators.sample import Sample
from rewards.backbones import Backbone
from rewards.config import RewardConfig
from rewards.model import RewardModel
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import BrightnessEyes, picture
from tests.curate.scoring.test_fit import Brightness


class EyesOnTheLabel(BrightnessEyes):
    """Sees what the reward model is not told."""

    def truth(
        self, images: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        return torch.tensor([0.9 if label == "good" else 0.1 for label in labels])


def masks(ws: Workspace, is_good: bool, number: int) -> Mapping[str, Any]:
    """Return the condition images of a prompt: a large lesion is good, a small one bad."""
    array = np.zeros((1, 16, 16), np.uint8)
    array[:, : (13 if is_good else 2), number:] = 1
    [sha256] = queries.files.add_files(
        ws.session, ws.store, [(encode(Sample(array, "labels")).content, "image/png")]
    )
    return {"conditions": {"mask": sha256}}


def records(ws: Workspace, is_good: bool, number: int) -> Mapping[str, Any]:
    """Return the record of a prompt: the old are good."""
    return {"record": {"age": (70 if is_good else 30) + number, "height": 150 + number % 3}}


def add_images(ws: Workspace, given: Any, count: int, first: int = 0) -> list[Image]:
    """Add pictures of every brightness; half of their prompts are good ones."""
    images = []
    for n in range(first, first + count):
        is_good = n % 2 == 0
        prompt = queries.prompts.get_or_add_prompt(
            ws.session,
            modality="OCT",
            text="lesion",
            label="good" if is_good else "bad",
            **given(ws, is_good, n // 2 % 4),
        )
        array = picture((n * 0.618) % 1, n)
        [sha256] = queries.files.add_files(ws.session, ws.store, [(png_bytes(array), "image/png")])
        images.append(
            Image(
                file_sha256=sha256,
                pixels_sha256=pixels_hash(array),
                origin="real",
                prompt_id=prompt.id,
                shape=[1, 16, 16],
                source_path=f"{n}.png",
            )
        )
    ws.session.add_all(images)
    ws.session.commit()
    return images


@pytest.mark.parametrize("given", [masks, records])
def test_scores_judge_and_reward_know_what_the_picture_does_not_show(
    workspace: Workspace, given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, backbone = workspace, Backbone("brightness", Brightness(), 12)
    campaign = create_campaign(
        ws, name="first", images=add_images(ws, given, 60), raters=simulated_raters(2)
    )
    simulate_campaign(ws, campaign, eyes=EyesOnTheLabel(), advance=lambda _: None)
    row = train_reward(ws, RewardConfig(num_parts=2), backbone=backbone)
    model = RewardModel.load(ws.store.local_path(row.file_sha256), backbone)
    new = add_images(ws, given, 20, first=60)
    score_images(ws, row, advance=lambda _: None, model=model)
    score_of = {score.image_id: score.mean for score in ws.session.exec(select(Score))}
    truth = [n % 2 == 0 for n in range(20)]
    assert roc_auc_score(truth, [score_of[image.id] for image in new]) > 0.9

    # RL's reward and a judge say the same of the same images
    prompts = [prompt_value(ws, image.prompt_id) for image in new]
    grey = [read_sample(ws.store, image.file_sha256) for image in new]
    pixels = torch.stack([rgb(sample)[:1] for sample in grey])
    rewards, _ = reward_of(model)(pixels, prompts)
    assert rewards.tolist() == pytest.approx([score_of[image.id] for image in new], abs=1e-5)
    monkeypatch.setattr(queries.reward_models, "reward_models", lambda *_: [row])
    monkeypatch.setattr("curate.evaluation.judge.load_reward_model", lambda *_: model)
    judge: Judge = find_judge(ws)
    asked = [
        to_judge(image.file_sha256, ws.session.get_one(Prompt, image.prompt_id)) for image in new
    ]
    assert tops(ws, judge, asked) == [score_of[image.id] >= 0.5 for image in new]


def test_where_nothing_but_words_was_given_nothing_more_is_looked_at(
    workspace: Workspace,
) -> None:
    network = Brightness()
    backbone = Backbone("brightness", network, 12)
    images = add_images(workspace, lambda *_: {}, 8)
    shown = [(image.file_sha256, image.prompt_id) for image in images]
    assert conditioning_features(workspace, backbone, shown) == []
    assert network.num_seen == 0
