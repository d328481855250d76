"""The demo of chests: what its raters and its judge see, its guards and what it shows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from curate.clinical.chests import chest
from curate.demos.base import LEARNING, MadeAlike
from curate.demos.clinical import (
    DENSITIES,
    FOLLOWS,
    GRAIN,
    ChestsSize,
    begin,
    deserves_top,
    grades,
    guards,
    shows,
)
from curate.evaluation.judge import to_judge
from curate.production.images import prompt_values
from curate.production.versions import load_version
from curate.samples.formats import encode
from curate.simulated import hold_demo, simulated_for
from curate.training.rl import rl_step
from curate.workspace import Workspace
from db import queries
from generators.base import Prompt, require_trainable
from generators.sample import Sample


def asked(seed: int) -> tuple[Sample, Prompt]:
    """Return a chest whose lungs are at their usual level, and what asks for it."""
    case = chest(seed, missing=0.0)
    record = {**case.record, "diagnosis": "normal"}
    return case.image, Prompt("ChestCT", "", None, record, {"mask": case.mask})


def test_raters_and_judge_tell_a_chest_from_a_shifted_a_denser_and_a_noisy_one() -> None:
    for seed in range(8):
        image, prompt = asked(seed)
        if prompt.record != chest(seed, missing=0.0).record:
            continue  # drawn with fibrosis, which no prompt of the demo asks for
        found = grades(image, prompt)
        assert found[FOLLOWS] >= 1 and found[GRAIN] >= 1
        assert deserves_top(image, prompt)
        shifted = replace(image, array=np.roll(image.array, 3, axis=3))
        assert grades(shifted, prompt)[FOLLOWS] < 0 and not deserves_top(shifted, prompt)
        denser = replace(image, array=(image.array + 200).astype(np.int16))
        assert grades(denser, prompt)[DENSITIES] < 0
        noise = np.random.default_rng(0).normal(0, 100, image.array.shape)
        noisy = replace(image, array=(image.array + noise).astype(np.int16))
        assert grades(noisy, prompt)[GRAIN] < 0 and not deserves_top(noisy, prompt)
    assert deserves_top(image, replace(prompt, record={})) is None


def test_the_raters_of_a_workspace_of_chests_know_the_truth_of_both_families(
    workspace: Workspace,
) -> None:
    assert simulated_for(workspace, "clinical-gan") is None  # no demo's data here
    hold_demo(workspace, "clinical", seed=0)
    for family in ("clinical", "clinical-gan"):
        known = simulated_for(workspace, family)
        assert known is not None and known.grades is grades
    assert simulated_for(workspace, "translation") is None


def density(images: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """Reward dense chests; images are volumes in HU."""
    assert images.shape[1:] == (1, 16, 16, 16) and images.min() >= -1000
    return images.flatten(1).mean(dim=1) / 1000, torch.zeros(len(images))


def test_a_version_beside_itself_loses_nothing_and_shows_default_changed_and_difference(
    workspace: Workspace,
) -> None:
    begun = begin(workspace, print, 0, ChestsSize(cases=24, steps=1, asked=2))
    prompts = prompt_values(workspace, [prompt.id for prompt in begun.judged])
    truths = [chest(1_000_002 + number, missing=0.0).image for number in range(2)]
    files = queries.files.add_files(
        workspace.session,
        workspace.store,
        [(one.content, one.media_type) for one in map(encode, truths)],
    )
    images = [to_judge(sha, prompt) for sha, prompt in zip(files, begun.judged, strict=True)]
    made = MadeAlike(begun.base.id, begun.base.id, list(zip(images, images, strict=True)))
    overlap, effect = guards(workspace, made)
    assert overlap.holds and "paired +0.000" in overlap.says
    assert effect.holds
    # one update with adapters on everything, as the circle's RL has them: merged when it is opened
    config = replace(
        LEARNING,
        num_steps=4,
        num_updates=1,
        prompts_per_update=1,
        group_size=4,
        branches=2,
        holds_budget=False,
    )
    stepped = rl_step(
        workspace, config, start=begun.base, prompts=begun.prompts[:1], reward=density
    )
    assert stepped.weights == "lora" and stepped.parent_id == begun.base.id
    opened, before = (
        require_trainable(load_version(workspace, v.id)) for v in (stepped, begun.base)
    )
    moved = [
        not torch.equal(a, b)
        for a, b in zip(opened.denoiser.parameters(), before.denoiser.parameters(), strict=True)
    ]
    assert sum(moved) > 10
    shown = shows(workspace, made)
    assert shown.panels == ("default", "changed", "changed less default")
    assert len(shown.rows) == len(prompts) == 2
