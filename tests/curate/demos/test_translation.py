"""The demo of translation: what its raters and its judge see of a head that is known."""

import math
from dataclasses import replace

import numpy as np

from curate.demos.translation import (
    ANATOMY,
    CLEAN,
    CONTRAST,
    HeadsSize,
    begin,
    simulated,
    truth_of,
)
from curate.production.images import prompt_values
from curate.simulated import simulated_for
from curate.workspace import Workspace
from generators.base import Prompt
from generators.families.translation import SOURCE
from generators.sample import Sample

TINY = HeadsSize(learned=8, channels="8,16", steps=1, asked=6)


def test_raters_and_judge_tell_the_true_target_from_the_source_and_from_another_head(
    workspace: Workspace,
) -> None:
    begun = begin(workspace, print, 0, TINY)
    known = simulated_for(workspace, "translation")
    assert known is not None and known.identity == simulated(workspace).identity
    assert known.grades is not None
    prompts = prompt_values(workspace, [prompt.id for prompt in (*begun.prompts, *begun.judged)])
    truth = truth_of(workspace)
    targets = {}
    for name, prompt in prompts.items():
        head = truth.of(prompt)
        assert head is not None
        targets[name] = Sample(np.rint(head.target * 255).astype(np.uint8)[None])
    for name, prompt in prompts.items():
        assert min(known.grades(targets[name], prompt).values()) >= 1  # a 3 on each
        assert known.deserves_top(targets[name], prompt)
        source = prompt.images[SOURCE]
        assert known.grades(source, prompt)[CONTRAST] < 0
        assert not known.deserves_top(source, prompt)
        other = next(target for other, target in targets.items() if other != name)
        own, stranger = (known.grades(each, prompt) for each in (targets[name], other))
        assert stranger[ANATOMY] < own[ANATOMY] - 1  # small heads are alike, but less than itself
        noise = np.random.default_rng(0).normal(0, 60, other.array.shape)
        noisy = (targets[name].array + noise).clip(0, 255).astype(np.uint8)
        assert known.grades(replace(other, array=noisy), prompt)[CLEAN] < 0
    alone = Prompt("T1", "a head")
    assert known.deserves_top(other, alone) is None
    assert all(math.isnan(grade) for grade in known.grades(other, alone).values())
