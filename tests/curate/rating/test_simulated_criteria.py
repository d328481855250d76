"""Simulated raters answer the version of the rubric that their eyes can."""

from collections.abc import Sequence

import torch
from torch import Tensor

from curate.loop.rounds import rubric_begun
from curate.production.versions import save_version
from curate.rating.config import SimulateOptions
from curate.rating.eyes import rubric_of
from curate.rating.report import agreement
from curate.rating.simulate import _new_campaign, simulate_campaign
from curate.workspace import Workspace
from db import queries
from db.models import Campaign
from generators.diffusion.generator import DiffusionGenerator
from tests.curate.pictures import BrightnessEyes, add_pictures


class TwofoldEyes(BrightnessEyes):
    """Grade brightness, and whether the first label is asked for; of others they say nothing."""

    identity = "f" * 64
    criteria = ("looks-real", "shows-asked")

    def grades(
        self, images: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> dict[str, Tensor]:
        bright_B = images.mean(dim=(1, 2, 3))
        shown = [1.5 if label == "f0" else torch.nan for label in labels]
        return {"looks-real": (bright_B - 0.35) / 0.3, "shows-asked": torch.tensor(shown)}


def simulated(ws: Workspace, eyes: BrightnessEyes, **given: object) -> Campaign:
    options = SimulateOptions(origin="real", control_fraction=0, repeat_fraction=0, **given)  # type: ignore[arg-type]
    campaign = _new_campaign(ws, options, eyes)
    simulate_campaign(ws, campaign, eyes=eyes, advance=lambda _: None)
    return campaign


def test_eyes_that_grade_criteria_answer_each_and_leave_blank_what_they_cannot_tell(
    workspace: Workspace,
) -> None:
    add_pictures(workspace, 40)
    campaign = simulated(workspace, TwofoldEyes(), overlap=2)
    views = queries.ratings.current_ratings(workspace.session, campaign_id=campaign.id)
    asked = {name: [v for v in views if v.criterion == name] for name in TwofoldEyes.criteria}
    assert len(asked["looks-real"]) == 80
    assert {view.label for view in asked["looks-real"]} == {"f0", "f1"}
    assert {view.label for view in asked["shows-asked"]} == {"f0"}
    assert sum(view.value == 3 for view in asked["shows-asked"]) >= 0.8 * 40
    groups = {group.criterion: group.num_ratings for group in agreement(workspace)}
    assert groups == {"good": 80, "looks-real": 80, "shows-asked": 40}
    progress = queries.campaigns.progress_of_campaigns(workspace.session)[-1]
    assert progress.num_answered == progress.num_assignments == 80  # blank is no open task


def test_eyes_of_one_grade_answer_version_1_and_a_loop_keeps_the_version_it_began_with(
    workspace: Workspace, tiny_generator: DiffusionGenerator
) -> None:
    add_pictures(workspace, 6)
    campaign = simulated(workspace, BrightnessEyes(), name="loop-round-1", max_images=4)
    rubrics = queries.campaigns.rubrics_of_campaigns(workspace.session)
    assert rubrics[campaign.id].version == 1
    assert rubric_of(workspace, None).version == rubric_of(workspace, TwofoldEyes()).version == 2
    tiny_generator.save(workspace.folder / "tiny")
    base = save_version(
        workspace,
        workspace.folder / "tiny",
        generator_name="tiny",
        family="text-to-image",
        how_made="imported",
    )
    assert rubric_begun(workspace, "loop") is None
    row = queries.rounds.add_round(
        workspace.session,
        loop_name="loop",
        number=1,
        base_version_id=base.id,
        start_version_id=base.id,
        config={},
    )
    for state in ("generated", "pushed"):
        queries.rounds.advance_round(workspace.session, row, state, campaign_id=campaign.id)
    assert rubric_begun(workspace, "loop") == campaign.rubric_id
    begun = rubric_begun(workspace, "loop")
    again = simulated(workspace, TwofoldEyes(), name="loop-round-2", num_raters=2, rubric_id=begun)
    assert again.rubric_id == campaign.rubric_id
