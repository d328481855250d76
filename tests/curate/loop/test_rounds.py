from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from annotation.base import Answer, RaterProfile
from curate.errors import CurateError
from curate.loop.config import ASKED_BEFORE, LoopConfig, SafetyLimits
from curate.loop.rounds import last_version_id, run_loop
from curate.production.versions import save_version
from curate.rating.answers import take_answers
from curate.rating.raters import Raters
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import Assignment, Round
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.config import RLConfig
from tests.curate.campaigns import create_campaign
from tests.curate.loop.eyes import RednessEyes
from tests.curate.pictures import add_pictures

SAMPLING = SamplingSettings(num_steps=3, batch_size=16)
CONFIG = LoopConfig(
    images_per_prompt=12,
    gate_images_per_prompt=8,
    sampling=SAMPLING,
    rl=RLConfig(num_updates=2, prompts_per_update=2, group_size=4, num_steps=3, learning_rate=1e-2),
)


def loop(
    ws: Workspace,
    generator: DiffusionGenerator,
    folder: Path,
    *,
    rounds: int = 1,
    config: LoopConfig = CONFIG,
    tired: bool = False,
) -> list[Round]:
    generator.save(folder)
    base = save_version(
        ws, folder, generator_name="tiny", family="text-to-image", how_made="imported"
    )
    prompts = [
        queries.prompts.get_or_add_prompt(ws.session, modality=modality, text=text)
        for modality in ("OCT", "CXR")
        for text in ("normal", "drusen")
    ]
    return run_loop(
        ws,
        config,
        rounds=rounds,
        base=base,
        prompts=prompts,
        raters=Raters(count=config.num_raters, eyes=RednessEyes(generator, SAMPLING, tired=tired)),
        say=lambda line: None,
    ).rounds


@pytest.mark.slow
def test_two_rounds_end_promoted_or_rejected_and_a_third_goes_on_from_there(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    first, second = loop(workspace, tiny_generator, tmp_path / "tiny", rounds=2)
    assert {first.state, second.state} <= {"promoted", "rejected"}
    assert first.reasons
    assert "points" in first.reasons[0]
    assert second.start_version_id == last_version_id([first])
    made = queries.versions.find_version(workspace.session, first.new_version_id or "")
    assert made.parent_id == first.start_version_id
    assert made.reward_model_id == first.reward_model_id
    before = queries.audit.counts(workspace.session)
    rounds = loop(workspace, tiny_generator, tmp_path / "tiny", rounds=2)
    assert [row.id for row in rounds] == [first.id, second.id]
    assert queries.audit.counts(workspace.session) == before


def test_a_loops_raters_see_controls_and_repeats_unless_it_was_begun_without(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    add_pictures(workspace, 6)
    config = replace(CONFIG, images_per_prompt=12)  # of 4 prompts: 48 images
    with pytest.raises(KeyboardInterrupt):
        loop(workspace, tiny_generator, tmp_path / "tiny", config=config, tired=True)
    asked = Counter(row.purpose for row in workspace.session.exec(select(Assignment)))
    assert asked == {"train": 2 * 48, "control": 3 * 5, "repeat": 3 * 2}
    row = queries.rounds.find_round(workspace.session, "loop", 1)
    assert row is not None
    row.config = {k: v for k, v in row.config.items() if k not in ASKED_BEFORE}
    workspace.session.commit()
    with pytest.raises(KeyboardInterrupt):  # the same loop: nothing that differs
        loop(workspace, tiny_generator, tmp_path / "tiny", config=config, tired=True)


def test_a_loop_whose_raters_would_not_count_says_so_before_it_makes_anything(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    images = add_pictures(workspace, 14)
    ann = RaterProfile(name="ann")
    campaign = create_campaign(workspace, name="ann's", images=images, raters=[ann], overlap=1)
    views = queries.campaigns.assignments(workspace.session, campaign.id)
    answers = [
        Answer(task_uid=str(v.id), rater="ann", criterion="quality", value=2, source_uid=str(v.id))
        for v in views
    ]
    take_answers(workspace, campaign, answers)
    with pytest.raises(
        CurateError, match="14 answers by people .* would not count, and .* needs 40"
    ):
        loop(workspace, tiny_generator, tmp_path / "tiny")
    assert queries.audit.counts(workspace.session)["synthetic_images"] == 0


@pytest.mark.slow
def test_a_loop_that_was_stopped_ends_with_the_same_weights(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        loop(workspace, tiny_generator, tmp_path / "tiny", tired=True)
    stopped = queries.rounds.find_round(workspace.session, "loop", 1)
    assert stopped is not None
    assert stopped.state == "pushed"
    (gone_on,) = loop(workspace, tiny_generator, tmp_path / "tiny")
    init_workspace(tmp_path / "other")
    with open_workspace(tmp_path / "other") as other:
        (whole,) = loop(other, tiny_generator, tmp_path / "tiny")
        assert whole.new_version_id == gone_on.new_version_id
        assert whole.metrics == gone_on.metrics


def test_other_settings_under_the_same_name_are_refused(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        loop(workspace, tiny_generator, tmp_path / "tiny", tired=True)
    other = replace(CONFIG, images_per_prompt=6)
    with pytest.raises(CurateError, match="other settings"):
        loop(workspace, tiny_generator, tmp_path / "tiny", config=other)


@pytest.mark.slow
def test_a_version_that_trips_a_wire_is_rejected_before_anybody_is_asked(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    config = replace(CONFIG, safety=SafetyLimits(max_shift=0.0))
    (row,) = loop(workspace, tiny_generator, tmp_path / "tiny", config=config)
    assert row.state == "rejected"
    assert "standard deviations" in row.reasons[0]
    assert row.gate_campaign_id is None
    assert row.metrics["safety"]["shifts"]
    assert "rank correlation" in row.metrics["doubts"][0]
