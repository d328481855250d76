"""The demo of edits: what its raters and its judge see, and its circle at a tiny size."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curate.demos import counterfactual
from curate.demos.circle import run_circle
from curate.demos.counterfactual import (
    REST,
    SAME,
    SHOWS,
    PatientsSize,
    begin,
    config,
    simulated,
    truth_of,
)
from curate.evaluation.judge import find_judge
from curate.loop.config import CircleConfig
from curate.production.images import prompt_values
from curate.rating.eyes import criteria_of, eyes_for
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.base import Prompt
from generators.sample import Sample

TINY = PatientsSize(patients=30, side=16, width=8, steps=80, registered=False)


def tiny() -> CircleConfig:
    full = config(0)
    loop = full.loop
    few = replace(
        loop.rl,
        num_updates=1,
        prompts_per_update=2,
        group_size=4,
        branches=2,
        num_steps=3,
        lora_rank=2,
        rollout_batch=8,
    )
    sampling = replace(loop.sampling, num_steps=3, batch_size=8)
    return replace(
        full,
        release_images_per_prompt=2,
        judge_images_per_prompt=1,
        made_again=2,
        loop=replace(
            loop, images_per_prompt=6, gate_images_per_prompt=2, sampling=sampling, rl=few
        ),
    )


def test_raters_and_judge_tell_the_true_answer_from_a_copy_and_from_another_patient(
    workspace: Workspace,
) -> None:
    begun = begin(workspace, print, 0, replace(TINY, side=32, steps=1))
    known, truth = simulated(workspace), truth_of(workspace)
    assert known.grades is not None
    prompts = prompt_values(workspace, [prompt.id for prompt in (*begun.prompts, *begun.judged)])
    for prompt in prompts.values():
        film, wanted = truth.of(prompt)
        answer = Sample(np.rint(film.shown(wanted, 32) * 255).astype(np.uint8)[None])
        assert min(known.grades(answer, prompt).values()) >= 1  # a 3 on each
        assert known.deserves_top(answer, prompt)
        copy = known.grades(prompt.images["prior"], prompt)
        assert copy[SHOWS] < 0 and min(copy[SAME], copy[REST]) >= 1
        assert not known.deserves_top(prompt.images["prior"], prompt)
        stranger = next(
            other
            for other in prompts.values()
            if not np.array_equal(other.images["prior"].array, prompt.images["prior"].array)
        )
        assert known.grades(stranger.images["prior"], prompt)[SAME] < 0
    alone = Prompt("CXR", "No effusion.")
    sample = Sample(np.zeros((1, 32, 32), np.uint8))
    assert known.deserves_top(sample, alone) is None
    assert all(math.isnan(grade) for grade in known.grades(sample, alone).values())


@pytest.mark.slow
def test_the_circle_says_who_judged_keeps_its_guards_and_shows_prior_result_and_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # grades that a generator after 80 steps can have on any processor: of equal ones nothing is
    # learned
    for name, grades in {"ALIKE": (0.5, 0.0), "MOVED": (0.15, 0.28), "MISSED": (0.5, 0.9)}.items():
        monkeypatch.setattr(counterfactual, name, grades)
    said: list[str] = []
    init_workspace(tmp_path)
    with open_workspace(tmp_path) as ws:
        begun = begin(ws, said.append, 0, TINY)
        assert criteria_of(eyes_for(ws, begun.base)) == (SHOWS, SAME, REST)
        circle = run_circle(ws, tiny(), begun, said.append)
        ratings = queries.ratings.current_ratings(ws.session)
        assert {rating.criterion for rating in ratings} == {SHOWS, SAME, REST}
        assert all(rating.simulated for rating in ratings)
        assert find_judge(ws).name == circle.judged.judge
        # nobody who takes part in the loop is behind what is judged and released
        asked, judged = (
            set().union(
                *queries.prompts.patients_behind(ws.session, [one.id for one in part]).values()
            )
            for part in (begun.prompts, begun.judged)
        )
        assert asked and judged and not asked & judged
    assert any("made from a prior, and real ones were given none" in line for line in said)
    table = "\n".join(circle.table())
    assert "simulated: procedural-patients/1" in table
    assert "never rated, rewarded or chose" in table
    assert [guard.needed for guard in circle.guards] == ["at least 0.95", "does not rise"]
    assert circle.proved is not None and circle.proved.ok
    assert circle.filtered is not None
    assert circle.filtered.kept.num == circle.exported.num_kept
    page = circle.report.read_text(encoding="utf-8")
    assert "prior | result | truth | result less prior" in page
    assert "Before and after" in page  # the trained base's images, not those of its first weights
    shown = json.loads((tmp_path / "reports" / "shown.json").read_text())
    assert len(shown["rows"]) == len(begun.judged)
