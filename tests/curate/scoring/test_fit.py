from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from sqlmodel import select
from torch import Tensor, nn

from annotation.base import Answer, RaterProfile
from curate.errors import CurateError
from curate.rating.answers import take_answers
from curate.rating.files import import_ratings
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.samples.features import features_of
from curate.samples.renderings import rgb
from curate.scoring.fit import (
    Answers,
    _rated_images,
    answers_to_train_on,
    load_reward_model,
    ratings_to_train_on,
    references_for,
    train_reward,
)
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.errors import StoreError
from db.hashing import json_hash
from db.models import (
    Assignment,
    Campaign,
    Comparison,
    Criterion,
    Image,
    Rater,
    RewardModelRating,
    Rubric,
)
from generators.sample import Sample
from rewards.backbones import Backbone
from rewards.config import RewardConfig
from rewards.errors import RewardError
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import BrightnessEyes, add_pictures, picture

CONFIG = RewardConfig()
QUICK = RewardConfig(num_parts=2)  # half the fits, where no figure of the model is asked for


class Brightness(nn.Module):
    """Twelve numbers around the mean brightness; counts the images it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.linspace(0, 1, 12))
        self.num_seen = 0

    def forward(self, images_B3HW: Tensor) -> Tensor:
        self.num_seen += len(images_B3HW)
        return torch.tanh(5 * (images_B3HW.mean(dim=(1, 2, 3))[:, None] - self.levels))


@pytest.fixture
def network() -> Brightness:
    return Brightness()


@pytest.fixture
def backbone(network: Brightness) -> Backbone:
    return Backbone("brightness", network, 12)


def rate(
    ws: Workspace,
    images: list[Image],
    *,
    name: str = "first",
    purpose: str = "train",
    raters: int = 3,
) -> None:
    campaign = create_campaign(
        ws, name=name, images=images, raters=simulated_raters(raters), purpose=purpose
    )
    simulate_campaign(ws, campaign, eyes=BrightnessEyes(), advance=lambda _: None)


def test_ratings_become_a_kept_model_that_knows_good_from_bad(
    workspace: Workspace, backbone: Backbone
) -> None:
    rate(workspace, add_pictures(workspace, 120, num_prompts=12))
    row = train_reward(workspace, CONFIG, backbone=backbone)
    held_out = row.metrics["held_out"]
    assert row.metrics["held_out_by"] == "prompt"
    assert held_out["auc_top_or_bottom"] >= 0.85
    assert held_out["mean_by_value"]["1"] < held_out["mean_by_value"]["3"]
    assert (row.simulated, row.role, row.num_ratings) == (True, "reward", 240)
    model = load_reward_model(workspace, row.id[:10], backbone=backbone)
    shown = torch.stack([rgb(Sample(picture(b, seed=9)[None])) for b in (0.1, 0.9)])
    mean_B, _ = model.predict(shown, ["OCT"] * 2, ["finding 1"] * 2)
    assert mean_B[1] - mean_B[0] > 0.5


def test_the_row_says_what_it_was_fitted_to_and_who_rates_how(
    workspace: Workspace, backbone: Backbone
) -> None:
    rate(workspace, add_pictures(workspace, 60, num_prompts=12))
    row = train_reward(workspace, CONFIG, backbone=backbone)
    uses = workspace.session.exec(
        select(RewardModelRating).where(RewardModelRating.reward_model_id == row.id)
    ).all()
    assert {use.use for use in uses} == {"fitted"}
    assert len(uses) == row.metrics["held_out"]["num_ratings"] == 120  # each left out once
    severity = {habits["rater"]: habits["severity"] for habits in row.metrics["raters"]}
    assert severity["simulated-2"] > severity["simulated-3"]


def test_the_same_ratings_and_settings_give_the_same_model_without_a_second_fit(
    workspace: Workspace, backbone: Backbone, network: Brightness
) -> None:
    rate(workspace, add_pictures(workspace, 60))
    first = train_reward(workspace, QUICK, backbone=backbone)
    seen = network.num_seen
    assert train_reward(workspace, QUICK, backbone=backbone).id == first.id
    assert network.num_seen == seen
    other = train_reward(workspace, replace(QUICK, seed=1), backbone=backbone)
    assert other.id != first.id
    assert network.num_seen == seen  # features come from the cache
    assert queries.reward_models.find_reward_model(workspace.session).id == other.id


def test_equal_answers_give_an_equal_model_whatever_the_ids_of_their_rows(
    workspace: Workspace, backbone: Backbone, tmp_path: Path
) -> None:
    init_workspace(tmp_path / "other")
    with open_workspace(tmp_path / "other") as other:
        made = []
        for ws in (workspace, other):
            images = add_pictures(ws, 30)
            rate(ws, images)
            compare(ws, images[:4], "higher")
            made.append(train_reward(ws, CONFIG, backbone=backbone).model_dump())
    one, two = ({key: row[key] for key in ("id", "file_sha256", "config")} for row in made)
    assert one == two
    rate(workspace, add_pictures(workspace, 4, num_prompts=1), name="more")
    assert train_reward(workspace, CONFIG, backbone=backbone).id != one["id"]


def test_a_model_whose_settings_name_answers_by_their_ids_is_found_again(
    workspace: Workspace, backbone: Backbone, network: Brightness
) -> None:
    """As 0.2.0 wrote them."""
    images = add_pictures(workspace, 30)
    rate(workspace, images)
    compare(workspace, images[:4], "higher")
    row = train_reward(workspace, CONFIG, backbone=backbone)
    answers = answers_to_train_on(workspace)
    ids = sorted(str(view.rating_id) for view in answers.ratings)
    pairs = sorted(str(view.comparison_id) for view in answers.comparisons)
    by_id = {"ratings_sha256": json_hash(ids), "comparisons_sha256": json_hash(pairs)}
    row.config = {**row.config, **by_id}
    workspace.session.add(row)
    workspace.session.commit()
    seen = network.num_seen
    assert train_reward(workspace, CONFIG, backbone=backbone).id == row.id
    assert len(queries.reward_models.reward_models(workspace.session)) == 1
    assert network.num_seen == seen


def test_gates_calibration_controls_and_repeats_are_left_out(workspace: Workspace) -> None:
    images = add_pictures(workspace, 40)
    rate(workspace, images[:5], name="gate", purpose="gate")
    rate(workspace, images[5:10], name="calibration", purpose="calibration")
    campaign = create_campaign(
        workspace,
        name="train",
        images=images[10:30],
        controls=images[30:],
        raters=simulated_raters(3),
        repeat_fraction=0.3,
    )
    simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=lambda _: None)
    views = ratings_to_train_on(workspace)
    assert {view.purpose for view in views} == {"train"}
    assert len(views) == 40


def test_captioned_images_teach_unless_held_out_or_of_a_rated_patient(workspace: Workspace) -> None:
    rated = add_pictures(workspace, 12)
    usable, held_out, same_patient = add_pictures(workspace, 3, first_seed=50)
    rated[0].patient = same_patient.patient = "p1"
    usable.patient, held_out.split = "p2", "test"
    add_pictures(workspace, 1, modality="CXR", first_seed=60)  # of which nobody rated any
    workspace.session.commit()
    rate(workspace, rated)
    found = references_for(workspace, answers_to_train_on(workspace))
    assert [image.id for image, _ in found] == [usable.id]


def rate_as_a_person(ws: Workspace, images: list[Image]) -> None:
    ann = RaterProfile(name="ann")
    campaign = create_campaign(ws, name="ann's", images=images, raters=[ann], overlap=1)
    grades = [
        Answer(
            task_uid=str(view.id),
            rater="ann",
            criterion="quality",
            value=1 + 2 * (place % 2),
            source_uid=str(view.id),
        )
        for place, view in enumerate(queries.campaigns.assignments(ws.session, campaign.id))
    ]
    assert take_answers(ws, campaign, grades).new == len(images)


def test_a_few_answers_by_people_do_not_silence_the_simulated_ones_unsaid(
    workspace: Workspace, backbone: Backbone
) -> None:
    images = add_pictures(workspace, 54)
    rate(workspace, images[14:])
    rate_as_a_person(workspace, images[:14])
    with pytest.raises(CurateError, match="14 answers by people count; 80 by .* needs 40"):
        train_reward(workspace, QUICK, backbone=backbone)
    advised = ["simulated-1", "simulated-2", "simulated-3"]
    row = train_reward(workspace, QUICK, raters=advised, backbone=backbone)
    assert (row.num_ratings, row.simulated) == (80, True)


def test_where_people_have_rated_enough_the_row_says_whose_answers_count(
    workspace: Workspace, backbone: Backbone
) -> None:
    images = add_pictures(workspace, 60)
    rate(workspace, images[:20])
    rate_as_a_person(workspace, images[20:])
    row = train_reward(workspace, QUICK, backbone=backbone)
    assert (row.num_ratings, row.simulated) == (40, False)
    assert row.metrics["notes"][0].startswith("40 answers by people count; 40 by simulated raters")


def test_of_a_rubrics_versions_the_newest_with_enough_answers_counts_and_the_row_says_so(
    workspace: Workspace,
) -> None:
    images = add_pictures(workspace, 30)
    for version, own in ((1, images[:20]), (2, images[20:])):
        campaign = create_campaign(
            workspace,
            name=f"version-{version}",
            images=own,
            raters=[RaterProfile(name="ann")],
            overlap=1,
            rubric_version=version,
        )
        criteria = queries.campaigns.criteria_of(workspace.session, campaign.rubric_id)
        grades = [
            Answer(
                task_uid=str(view.id),
                rater="ann",
                criterion=criterion.name,
                value=1 + place % 3,
                source_uid=str(view.id),
            )
            for place, view in enumerate(
                queries.campaigns.assignments(workspace.session, campaign.id)
            )
            for criterion in criteria
        ]
        take_answers(workspace, campaign, grades)
    newest = answers_to_train_on(workspace, enough=20)
    assert {view.criterion for view in newest.ratings} == {"looks-real", "shows-asked"}
    assert newest.notes == (
        "rubric 'minim': version 2 counts (20 answers); 20 answers to version 1 are left out",
    )
    first = answers_to_train_on(workspace, enough=21)
    assert len(first.ratings) == 20 and len(first.notes) == 1
    told = answers_to_train_on(workspace, criteria=["quality"], enough=20)
    assert {view.criterion for view in told.ratings} == {"quality"} and told.notes == ()


def compare(ws: Workspace, images: list[Image], polarity: str = "higher") -> None:
    """One rater prefers the later image of each neighbouring pair."""
    rubric = Rubric(name="pairs", version=1)
    criterion = Criterion(
        rubric_id=rubric.id,
        name="quality",
        question="Which one?",
        min_value=1,
        max_value=3,
        polarity=polarity,
    )
    campaign = Campaign(
        name="pairs",
        kind="comparison",
        rubric_id=rubric.id,
        seed=0,
        overlap=1,
        simulated=True,
        backend="csv",
    )
    rater = Rater(name="ann", simulated=True)
    ws.session.add(rubric)
    ws.session.flush()
    ws.session.add_all([criterion, campaign, rater])
    ws.session.flush()
    for place, (left, right) in enumerate(pairwise(images)):
        shown = Assignment(
            campaign_id=campaign.id,
            rater_id=rater.id,
            image_id=left.id,
            other_image_id=right.id,
            position=place,
        )
        ws.session.add(shown)
        ws.session.flush()
        for revision, preferred in ((1, "left"), (2, "right")):  # ann changed her mind
            ws.session.add(
                Comparison(
                    assignment_id=shown.id,
                    criterion_id=criterion.id,
                    preferred=preferred,
                    revision=revision,
                )
            )
    ws.session.commit()


@pytest.mark.parametrize(("polarity", "left_is_better"), [("higher", 0.0), ("lower", 1.0)])
def test_comparisons_are_learned_from_as_their_rater_last_meant_them(
    workspace: Workspace, backbone: Backbone, polarity: str, left_is_better: float
) -> None:
    images = add_pictures(workspace, 6)
    compare(workspace, images, polarity)
    answers = answers_to_train_on(workspace)
    pairs = _rated_images(workspace, answers, backbone, []).comparisons
    assert len(answers.comparisons) == len(pairs.left_C) == 5
    assert pairs.preference_C.tolist() == [left_is_better] * 5
    assert set(pairs.raters) == {"ann"}


def write_people(ws: Workspace, folder: Path, count: int, rater: str) -> None:
    lines = [f"images/OCT-{n}.png,{1 + n % 3},OCT,3," for n in range(count)]
    path = folder / f"{rater}.csv"
    path.write_text("image_path,rating,modality,expert_level,prompt\n" + "\n".join(lines))
    assert import_ratings(ws, path, rater=rater).bad == ()


def test_where_people_have_rated_simulated_ratings_are_left_out(
    workspace: Workspace, tmp_path: Path
) -> None:
    rate(workspace, add_pictures(workspace, 20))
    assert all(view.simulated for view in ratings_to_train_on(workspace))
    write_people(workspace, tmp_path, 5, "ann")
    assert {view.rater for view in ratings_to_train_on(workspace)} == {"ann"}
    chosen = ratings_to_train_on(workspace, campaigns=["first"])
    assert len(chosen) == 40 and all(view.simulated for view in chosen)


def test_a_judge_has_raters_and_backbone_of_its_own_for_good(
    workspace: Workspace, backbone: Backbone, tmp_path: Path
) -> None:
    add_pictures(workspace, 60)
    write_people(workspace, tmp_path, 60, "ann")
    train_reward(workspace, replace(QUICK, backbone="brightness"), backbone=backbone)
    write_people(workspace, tmp_path, 60, "ben")
    with pytest.raises(CurateError, match="fitted to ratings of ann"):
        train_reward(workspace, QUICK, role="judge", raters=["ann", "ben"], backbone=backbone)
    with pytest.raises(CurateError, match="A judge needs another"):
        train_reward(
            workspace, replace(QUICK, backbone="brightness"), role="judge", backbone=backbone
        )
    judge = train_reward(
        workspace, replace(QUICK, backbone="other"), role="judge", backbone=backbone
    )
    assert (judge.role, judge.num_ratings, judge.simulated) == ("judge", 60, False)
    assert {view.rater for view in ratings_to_train_on(workspace)} == {"ann"}
    assert queries.reward_models.find_reward_model(workspace.session).role == "reward"


def test_too_few_ratings_are_refused_with_what_is_needed(
    workspace: Workspace, backbone: Backbone
) -> None:
    with pytest.raises(RewardError, match="0 ratings, but a reward model needs 40"):
        train_reward(workspace, QUICK, backbone=backbone)


def test_a_model_that_is_not_there_is_refused_with_those_that_are(workspace: Workspace) -> None:
    with pytest.raises(StoreError, match="Known: none"):
        load_reward_model(workspace, "abc")


def test_features_are_the_same_from_the_cache_and_after_it_was_torn(
    workspace: Workspace, backbone: Backbone, network: Brightness
) -> None:
    files = [image.file_sha256 for image in add_pictures(workspace, 10, sides=(16, 24))]
    fresh = features_of(workspace, backbone, files[:6])
    assert network.num_seen == 6
    assert torch.equal(features_of(workspace, backbone, files)[:6], fresh)
    assert network.num_seen == 10
    (path,) = (workspace.cache / "features").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert torch.allclose(features_of(workspace, backbone, files)[:6], fresh)


def test_a_trainees_rating_weighs_a_third_and_keeps_its_value(
    workspace: Workspace, backbone: Backbone
) -> None:
    rate(workspace, add_pictures(workspace, 6))
    views = ratings_to_train_on(workspace)
    rated = _rated_images(workspace, Answers(views, []), backbone, [])
    levels = [view.expert_level for view in views]
    assert set(levels) == {1, 2, 3}
    assert rated.weight_R.tolist() == pytest.approx([level / 3 for level in levels])
    assert rated.grade_R.tolist() == [view.value - 1 for view in views]
