"""Anchors: real images that a loop's raters see as they are, and others spoiled."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from curate.loop.config import LoopConfig
from curate.loop.rounds import _anchors_of
from curate.rating.campaigns import CampaignPlan, make_campaign
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.samples.pixels import array_of
from curate.samples.spoiling import SPOILINGS, spoiled_file
from curate.scoring.fit import _shown, answers_to_train_on
from curate.workspace import Workspace
from db import queries
from tests.curate.pictures import BrightnessEyes, add_pictures


class SmoothEyes(BrightnessEyes):
    """Sees nothing but whether two rows of pixels are alike, as no spoiled picture's grain is."""

    def truth(
        self, images: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        step_B = (images[:, :, 1:] - images[:, :, :-1]).abs().mean(dim=(1, 2, 3))
        return torch.where((step_B > 0.02) & (step_B < 0.06), 0.9, 0.1)


def test_anchors_are_drawn_once_half_are_spoiled_and_half_of_the_real_images_stay_unseen(
    workspace: Workspace,
) -> None:
    images = add_pictures(workspace, 22)
    images[0].split = "test"
    workspace.session.commit()
    config = LoopConfig(seed=3)
    anchors = _anchors_of(workspace, config, ["OCT"], ())
    assert anchors == _anchors_of(workspace, config, ["OCT"], ())
    assert len({item.image_id for item in anchors}) == len(anchors) == 2 * (21 // 4)
    assert images[0].id not in {item.image_id for item in anchors}
    ways = Counter(item.spoiled for item in anchors)
    assert ways.pop(None) == 5 and ways.keys() == SPOILINGS.keys()
    assert len(_anchors_of(workspace, replace(config, anchors=2), ["OCT"], ())) == 4
    assert _anchors_of(workspace, config, ["CXR"], ()) == []
    whole = _anchors_of(workspace, config, ["OCT"], (), spoil=False)
    assert whole == [item for item in anchors if item.spoiled is None]


def test_a_spoiled_anchor_is_rated_and_learned_as_it_was_shown(workspace: Workspace) -> None:
    add_pictures(workspace, 40)
    anchors = _anchors_of(workspace, LoopConfig(), ["OCT"], ())
    plan = CampaignPlan(
        name="anchors",
        items=tuple(anchors),
        raters=tuple(simulated_raters(1)),
        overlap=1,
        seed=0,
        backend="simulated",
    )
    campaign = make_campaign(
        workspace, plan, queries.campaigns.default_rubric(workspace.session, 1)[0]
    )
    simulate_campaign(workspace, campaign, eyes=SmoothEyes(), advance=lambda _: None)
    answers = answers_to_train_on(workspace)
    grainless = SPOILINGS.keys() - {"half-turned"}  # whose rows stay alike
    grades = {how: [v.value for v in answers.ratings if v.spoiled == how] for how in grainless}
    assert all(max(Counter(own), key=Counter(own).__getitem__) == 1 for own in grades.values())
    whole = [v.value for v in answers.ratings if v.spoiled is None]
    assert len(whole) == 10 and sum(value == 3 for value in whole) >= 7
    shown = _shown(workspace, answers)
    spoiled = {(v.file_sha256, v.spoiled) for v in answers.ratings if v.spoiled}
    files = {spoiled_file(workspace, sha, str(how)) for sha, how in spoiled}
    assert len(shown) == 20 and files <= {image.file_sha256 for image in shown}
    assert not {sha for sha, _ in spoiled} & {image.file_sha256 for image in shown}
    one, how = next(iter(spoiled))
    pixels = array_of(workspace.store.get(spoiled_file(workspace, one, str(how))))
    assert pixels.shape[:2] == array_of(workspace.store.get(one)).shape[:2]
    assert not np.array_equal(pixels[..., 0], array_of(workspace.store.get(one)))
