"""Captions longer than a generator reads: named all at once, cut, or left out."""

import pytest

from curate.errors import CurateError
from curate.training.config import LessonConfig
from curate.training.long_captions import with_readable_captions
from curate.training.selection import select_images
from curate.workspace import Workspace
from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from tests.curate.training.conftest import add_pictures

LONG = "drusen " * 30 + "large"  # the tiny generator reads 24 tokens


def test_captions_too_long_are_all_named_at_once(
    pictures: Workspace, tiny_generator: DiffusionGenerator
) -> None:
    add_pictures(pictures, "OCT", LONG, 2, "train")
    add_pictures(pictures, "CXR", "effusion " * 30, 1, "train")
    chosen = select_images(pictures, LessonConfig())
    with pytest.raises(CurateError, match="3 images have captions longer") as refused:
        with_readable_captions(
            pictures, chosen, tiny_generator.conditioner, "refuse", lambda _: None
        )
    assert str(refused.value).count("'drusen drusen") == 2 and "'effusion" in str(refused.value)


@pytest.mark.parametrize(("policy", "num_more"), [("truncate", 2), ("skip", 0)])
def test_captions_too_long_are_cut_or_their_images_left_out(
    pictures: Workspace, tiny_generator: DiffusionGenerator, policy: str, num_more: int
) -> None:
    before = len(select_images(pictures, LessonConfig()).learned)
    add_pictures(pictures, "OCT", LONG, 2, "train")
    conditioner = tiny_generator.conditioner
    chosen = select_images(pictures, LessonConfig())
    found = with_readable_captions(pictures, chosen, conditioner, policy, lambda _: None)
    assert len(found.learned) == before + num_more
    conditioner([Prompt(image.modality, image.text) for image in found.learned])
    assert [i.text for i in found.learned].count("drusen " * 21 + "drusen") == num_more


def test_a_held_out_caption_that_is_too_long_stops_no_training(
    pictures: Workspace, tiny_generator: DiffusionGenerator
) -> None:
    before = select_images(pictures, LessonConfig())
    add_pictures(pictures, "CXR", LONG, 1, "val")
    chosen = select_images(pictures, LessonConfig())
    conditioner = tiny_generator.conditioner
    found = with_readable_captions(pictures, chosen, conditioner, "refuse", lambda _: None)
    assert found.validated == before.validated and found.learned == before.learned


def test_the_settings_of_a_lesson_are_stored_as_before() -> None:
    assert "long_captions" not in LessonConfig(long_captions="skip").to_json()
    assert LessonConfig.from_json(LessonConfig().to_json()) == LessonConfig()
