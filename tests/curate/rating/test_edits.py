"""Edits are asked about by questions of their own, with controls that nobody careful accepts."""

import numpy as np
import pytest

from annotation.base import RaterProfile
from curate.agreement.readers import controls_right
from curate.journeys.config import JourneyDemo
from curate.journeys.demo import make_demo
from curate.production.config import GenerateOptions, GeneratorChoice
from curate.prompts.generate import generate_images
from curate.rating.ask import ask
from curate.rating.campaigns import CampaignPlan, Item
from curate.rating.edits import are_edits
from curate.rating.label_studio import BACKEND
from curate.rating.rubrics import rubric_asked
from curate.samples.spoiling import spoiled_file
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Image
from generators.beginning import Beginning
from generators.config import SamplingSettings
from generators.families.counterfactual import CounterfactualSettings, create
from tests.curate.agreement.study import look

CRITERIA = ["shows-change", "same-patient", "nothing-else-changed"]


@pytest.fixture
def edits(workspace: Workspace) -> list[Image]:
    """Four edits of two patients, by a generator that has learned nothing."""
    make_demo(workspace, JourneyDemo(num_patients=4, side=16))
    create(CounterfactualSettings(side=16, width=16), Beginning([])).save(workspace.folder / "base")
    pairs = {
        pair.journey.patient: pair.prior for pair in queries.journeys.journeys(workspace.session)
    }
    for prior in list(pairs.values())[:2]:
        generate_images(
            workspace,
            GenerateOptions(
                texts=("CXR: No change.",),
                prior=str(prior.id),
                count=2,
                generator=GeneratorChoice(base=str(workspace.folder / "base")),
                settings=SamplingSettings(num_steps=1, batch_size=2),
            ),
        )
    return [image for image, _ in queries.images.images(workspace.session, origin="synthetic")]


def asked(ws: Workspace, images: list[Image]) -> Campaign:
    plan = CampaignPlan(
        name="edits",
        items=tuple(Item(image_id=image.id) for image in images),
        raters=(RaterProfile(name="reader-1", expert_level=3),),
        overlap=1,
        seed=0,
        backend=BACKEND,
    )
    return ask(ws, plan, rubric_asked(ws, None, images), shown=images, control_fraction=1.0)


def test_edits_have_a_rubric_and_controls_of_their_own(
    workspace: Workspace, edits: list[Image]
) -> None:
    session = workspace.session
    campaign = asked(workspace, edits)
    criteria = queries.campaigns.criteria_of(session, campaign.rubric_id)
    assert [(c.name, c.min_value, c.max_value) for c in criteria] == [(n, 1, 3) for n in CRITERIA]
    assert queries.campaigns.shown_names(session, campaign) == ("prior", "left")
    shown = queries.campaigns.shown_images(session, campaign.id)
    files = {(one.assignment_id, one.name): one.file_sha256 for one in shown}
    views = queries.campaigns.assignments(session, campaign.id)
    patients = queries.prompts.patients_behind(session, [image.prompt_id for image in edits])
    of_edit = {image.file_sha256: patients[image.prompt_id] for image in edits}
    seen = {"unchanged": 0, "another patient": 0}
    for view in views:
        left, prior = files[view.id, "left"], files[view.id, "prior"]
        one = queries.campaigns.shown_image(session, view.id, "left")
        assert one is not None and one.file_sha256 == left and one.spoiled is None
        if view.purpose != "control":
            assert left == view.file_sha256 and left != prior
        elif left == prior:
            seen["unchanged"] += 1
        else:
            seen["another patient"] += 1
            assert not of_edit[left] & patients[view.prompt_id]
    assert seen == {"unchanged": 2, "another patient": 2}


def test_only_edits_are_asked_about_as_edits(workspace: Workspace, edits: list[Image]) -> None:
    how = f"unchanged:{edits[1].file_sha256}"  # a reward model learns from the file shown instead
    assert spoiled_file(workspace, edits[0].file_sha256, how) == edits[1].file_sha256
    real = [image for image, _ in queries.images.images(workspace.session, origin="real")]
    assert are_edits(workspace, edits)
    assert not are_edits(workspace, real) and not are_edits(workspace, [*edits, real[0]])
    assert rubric_asked(workspace, None, real).name == "minim"


def test_a_control_of_edits_is_judged_by_the_question_that_it_fails() -> None:
    kinds = {"unchanged:0": (1, 3, 3), "another-patient:0": (3, 1, 1)}
    looks = [
        look("ann", kind, value, criterion=name, purpose="control", spoiled=kind)
        for kind, values in kinds.items()
        for name, value in zip(CRITERIA, values, strict=True)
    ]
    assert controls_right(looks) == [True, True]  # by the mean both would be wrong or nearly
    fooled = [
        look("ann", "a", 3, criterion=n, purpose="control", spoiled="unchanged:0") for n in CRITERIA
    ]
    assert controls_right(fooled) == [False]
    assert np.mean(kinds["unchanged:0"]) > 2
