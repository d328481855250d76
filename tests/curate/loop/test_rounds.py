import shutil
from collections import Counter
from collections.abc import Iterator
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
from curate.workspace import Workspace, open_workspace
from db import queries
from db.models import Assignment, Round
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.config import RLConfig
from tests.curate.campaigns import create_campaign
from tests.curate.loop.eyes import RednessEyes
from tests.curate.pictures import add_pictures
from tests.tiny import tiny_generator as make_tiny_generator

SAMPLING = SamplingSettings(num_steps=3, batch_size=16)
CONFIG = LoopConfig(
    images_per_prompt=12,
    gate_images_per_prompt=8,
    sampling=SAMPLING,
    rl=RLConfig(
        num_updates=2,
        prompts_per_update=2,
        group_size=4,
        num_steps=3,
        rollout_batch=8,
        learning_rate=1e-2,
    ),
)


def loop(
    ws: Workspace,
    generator: DiffusionGenerator,
    folder: Path,
    *,
    rounds: int = 1,
    config: LoopConfig = CONFIG,
    tired: bool = False,
    said: list[str] | None = None,
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
        say=(said if said is not None else []).append,
    ).rounds


@pytest.fixture(scope="module")
def taken(
    tmp_path_factory: pytest.TempPathFactory, _empty_workspace: Path
) -> Iterator[tuple[Workspace, list[Round]]]:
    """A workspace whose loop has taken two rounds, and those; nothing is added to it."""
    folder = tmp_path_factory.mktemp("taken")
    shutil.copytree(_empty_workspace, folder / "workspace")
    with open_workspace(folder / "workspace") as ws:
        yield ws, loop(ws, make_tiny_generator(), folder / "tiny", rounds=2)


@pytest.mark.slow
def test_two_rounds_end_promoted_or_rejected_and_a_third_goes_on_from_there(
    taken: tuple[Workspace, list[Round]], tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    ws, (first, second) = taken
    assert {first.state, second.state} <= {"promoted", "rejected"}
    assert first.reasons
    assert "points" in first.reasons[0]
    assert second.start_version_id == last_version_id([first])
    made = queries.versions.find_version(ws.session, first.new_version_id or "")
    assert made.parent_id == first.start_version_id
    assert made.reward_model_id == first.reward_model_id
    before = queries.audit.counts(ws.session)
    rounds = loop(ws, tiny_generator, tmp_path / "tiny", rounds=2)
    assert [row.id for row in rounds] == [first.id, second.id]
    assert queries.audit.counts(ws.session) == before


@pytest.mark.slow
def test_other_settings_under_the_same_name_are_refused(
    taken: tuple[Workspace, list[Round]], tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    other = replace(CONFIG, images_per_prompt=6)
    with pytest.raises(CurateError, match="other settings"):
        loop(taken[0], tiny_generator, tmp_path / "tiny", config=other)


@pytest.mark.slow
def test_a_loops_raters_see_controls_and_repeats_unless_it_was_begun_without(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    add_pictures(workspace, 6)
    config = replace(CONFIG, images_per_prompt=12)  # of 4 prompts: 48 images
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        loop(workspace, tiny_generator, tmp_path / "tiny", config=config, tired=True, said=said)
    assert said[0].startswith("round 1, gate: 4 prompts x 8 images, 2 raters each")
    asked = Counter(row.purpose for row in workspace.session.exec(select(Assignment)))
    # and of the 6 real images one as an anchor, and one spoiled
    assert asked == {"train": 2 * (48 + 2), "control": 3 * 5, "repeat": 3 * 2}
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
    taken: tuple[Workspace, list[Round]],
    workspace: Workspace,
    tiny_generator: DiffusionGenerator,
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        loop(workspace, tiny_generator, tmp_path / "tiny", tired=True)
    stopped = queries.rounds.find_round(workspace.session, "loop", 1)
    assert stopped is not None
    assert stopped.state == "pushed"
    (gone_on,) = loop(workspace, tiny_generator, tmp_path / "tiny")
    whole = taken[1][0]
    assert whole.new_version_id == gone_on.new_version_id
    assert whole.metrics == gone_on.metrics


@pytest.mark.slow
def test_a_version_that_trips_a_wire_is_rejected_before_anybody_is_asked(
    taken: tuple[Workspace, list[Round]], tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    """The round of `taken`, as it stood before its gate, goes on under a stricter limit."""
    shutil.copytree(taken[0].folder, tmp_path / "workspace")
    config = replace(CONFIG, safety=SafetyLimits(max_shift=0.0))
    with open_workspace(tmp_path / "workspace") as ws:
        first, second = queries.rounds.rounds(ws.session, "loop")
        ws.session.delete(second)
        first.state, first.gate_campaign_id, first.reasons = "stepped", None, []
        first.metrics = {"doubts": first.metrics["doubts"]}
        first.config = config.to_json()
        ws.session.commit()
        (row,) = loop(ws, tiny_generator, tmp_path / "tiny", config=config)
        assert row.state == "rejected"
        assert "standard deviations" in row.reasons[0]
        assert row.gate_campaign_id is None
        assert row.metrics["safety"]["shifts"]
        assert "rank correlation" in row.metrics["doubts"][0]
