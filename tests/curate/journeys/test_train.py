"""Journeys are learned: a generator begun and trained on pairs, kept apart by patient."""

import pytest

from curate.errors import CurateError
from curate.journeys.config import DescribeConfig, JourneyDemo
from curate.journeys.demo import make_demo
from curate.journeys.describe import describe_journeys
from curate.production.config import GenerateOptions, GeneratorChoice
from curate.production.images import prompt_value, samples_of
from curate.production.versions import load_version
from curate.progress import progress
from curate.prompts.generate import generate_images
from curate.training.config import FamilyChoice, LessonConfig
from curate.training.selection import select_images
from curate.training.train_generator import run_train_generator
from curate.workspace import Workspace
from db import queries
from generators.beginning import Beginning
from generators.config import SamplingSettings
from generators.families.counterfactual import CounterfactualSettings, create
from generators.training.config import TrainingConfig

LESSON = LessonConfig(real=False, journeys=True, num_samples=0)
TRAINING = TrainingConfig(num_steps=2, batch_size=4, micro_batch=4, drop_words=0.5)


def test_pairs_are_learned_with_their_prior_and_another_prior_is_another_image(
    workspace: Workspace,
) -> None:
    make_demo(workspace, JourneyDemo(num_patients=30, side=16))
    with pytest.raises(CurateError, match="journeys describe"):
        select_images(workspace, LESSON)
    describe_journeys(workspace, DescribeConfig(), progress)
    chosen = select_images(workspace, LESSON)
    learned, validated = ({i.patient for i in part} for part in (chosen.learned, chosen.validated))
    tested = {
        pair.journey.patient for pair in queries.journeys.journeys(workspace.session, split="test")
    }
    assert learned and validated and tested
    assert not learned & validated and not learned & tested and not validated & tested

    version = run_train_generator(
        workspace,
        TRAINING,
        LESSON,
        choice=GeneratorChoice(),
        family=FamilyChoice(family="counterfactual", settings=("side=16", "width=16")),
        replay_prompts=None,
        say=lambda line: None,
    )
    assert version is not None
    generator = load_version(workspace, version.id)
    assert generator.family == "counterfactual" and generator.reads == {"prior"}
    prompts = [prompt_value(workspace, image.prompt_id) for image in chosen.learned[:2]]
    one, other = samples_of(generator, prompts, [1, 1], SamplingSettings(num_steps=2, batch_size=2))
    assert one.array.shape == (1, 16, 16) and one != other
    assert len({image.prompt_id for image in chosen.learned}) == len(chosen.learned)


def test_a_prior_is_named_beside_a_prompt_and_its_patient_is_found(workspace: Workspace) -> None:
    make_demo(workspace, JourneyDemo(num_patients=4, side=16))
    first, other = queries.journeys.journeys(workspace.session)[:2]
    films = workspace.folder / "journeys-demo"
    made = create(CounterfactualSettings(side=16, width=16), Beginning([]))
    made.save(workspace.folder / "base")

    def ask(prior: str) -> set[str | None]:
        options = GenerateOptions(
            texts=("CXR: No change.",),
            prior=prior,
            count=1,
            generator=GeneratorChoice(base=str(workspace.folder / "base")),
            settings=SamplingSettings(num_steps=1, batch_size=1),
        )
        run = generate_images(workspace, options)
        assert run.is_whole
        [image, *_] = [
            row for row, _ in queries.images.images(workspace.session, run_id=run.runs[0].run_id)
        ]
        return queries.prompts.patients_behind(workspace.session, [image.prompt_id])[
            image.prompt_id
        ]

    assert ask(str(films / (first.prior.source_path or ""))) == {first.journey.patient}
    assert ask(str(other.prior.id)) == {other.journey.patient}
    num_made = queries.images.images(workspace.session, origin="synthetic")
    assert len(num_made) == len({first.prior.id, other.prior.id})  # two priors, two prompts
    with pytest.raises(CurateError, match="--prior nowhere.png"):
        ask("nowhere.png")


def test_settings_without_journeys_are_stored_as_before() -> None:
    assert "journeys" not in LessonConfig().to_json()
    assert "drop_words" not in TrainingConfig().to_json()
    assert LessonConfig.from_json(LESSON.to_json()) == LESSON
