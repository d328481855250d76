from collections import Counter

import pytest

from curate.errors import CurateError
from curate.training.config import LessonConfig
from curate.training.selection import balanced, select_images, split_of
from curate.workspace import Workspace
from db import queries
from tests.curate.conftest import Story
from tests.curate.training.conftest import add_pictures


def test_images_that_were_rated_well_teach(story: Story) -> None:
    config = LessonConfig(real=False, rated=True, validation_share=0.0)
    chosen = select_images(story.ws, config)
    assert len(chosen.learned) == 2  # of eight ratings 1, 2, 3, 1, 2, 3, 1, 2
    assert chosen.notes == [
        "2 of 8 rated images have a mean of 3 or more (8 of 8 ratings are simulated)"
    ]


def test_generated_images_teach_from_a_score_on(story: Story) -> None:
    config = LessonConfig(real=False, synthetic=True, least_score=0.72, validation_share=0.0)
    assert len(select_images(story.ws, config).learned) == 4
    with pytest.raises(CurateError, match="0.99 or more.*lower --least-score"):
        select_images(story.ws, LessonConfig(real=False, synthetic=True, least_score=0.99))


def test_an_image_found_by_two_routes_is_learned_once(story: Story) -> None:
    both = LessonConfig(real=False, synthetic=True, rated=True, validation_share=0.0)
    assert len(select_images(story.ws, both).learned) == 24


def test_rare_labels_are_repeated_up_to_the_commonest(workspace: Workspace) -> None:
    add_pictures(workspace, "OCT", "drusen", 5, "train")
    add_pictures(workspace, "OCT", "hole", 2, "train")
    chosen = select_images(workspace, LessonConfig(balance=True)).learned
    assert Counter(image.label for image in chosen) == {"drusen": 5, "hole": 5}
    assert len(balanced(chosen)) == 10


def test_patients_are_held_out_whole_and_always_the_same(workspace: Workspace) -> None:
    add_pictures(workspace, "OCT", "drusen", 60, None)
    chosen = select_images(workspace, LessonConfig(validation_share=0.2))
    held_out = {image.patient for image in chosen.validated}
    assert 4 <= len(held_out) <= 20
    assert held_out.isdisjoint(image.patient for image in chosen.learned)
    images = queries.images.images_to_learn(workspace.session)
    assert {i.patient for i in images if split_of(i, 0.2) == "val"} == held_out


def test_images_of_the_split_test_are_never_touched(workspace: Workspace) -> None:
    add_pictures(workspace, "OCT", "drusen", 3, "train")
    add_pictures(workspace, "OCT", "drusen", 2, "test")
    chosen = select_images(workspace, LessonConfig())
    assert {image.split for image in (*chosen.learned, *chosen.validated)} == {"train"}


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"real": False}, "nothing to learn from"),
        ({"fit": "stretch"}, "crop, pad"),
        ({"replay": "all"}, "none, images, prompts"),
        ({"replay": "images"}, "which ones are new"),
        ({"replay_share": 1.0}, "between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict, needed: str) -> None:
    with pytest.raises(CurateError, match=needed):
        LessonConfig(**change)


def test_a_config_survives_its_row() -> None:
    config = LessonConfig(modalities=("OCT", "CXR"), size=32)
    assert LessonConfig.from_json(config.to_json()) == config
