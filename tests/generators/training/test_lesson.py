from collections import Counter
from typing import Any

import pytest
import torch

from generators.base import Prompt
from generators.diffusion.process import VariancePreserving
from generators.errors import GeneratorError
from generators.training.config import TrainingConfig
from generators.training.lesson import (
    Draws,
    Drop,
    Example,
    Lesson,
    Pool,
    drop_at,
    pool_sizes,
    shown_prompt,
)


def examples(name: str, count: int, mirrored: bool = False) -> list[Example]:
    prompt, turned = Prompt("OCT", name), Prompt("OCT", f"{name} mirrored")
    return [
        Example(
            f"{name}{i}",
            prompt,
            "OCT",
            Example(f"{name}{i} mirrored", turned, "OCT") if mirrored else None,
        )
        for i in range(count)
    ]


def draws(*pools: Pool, **settings: Any) -> Draws:
    lesson = Lesson(
        pools, [], latents=lambda key: torch.zeros(1), embed=lambda prompt: NotImplemented
    )
    return Draws(
        lesson, TrainingConfig(**settings), (4, 2, 2), VariancePreserving.from_config({}).draw_time
    )


def test_every_example_comes_up_once_a_round() -> None:
    drawn = draws(Pool(examples("a", 6)), batch_size=4)
    first_round = [slot.shown.image for step in range(3) for slot in drawn.slots(step, range(4))]
    assert Counter(first_round[:6]) == Counter(f"a{i}" for i in range(6))
    assert first_round[:6] != sorted(first_round[:6])


def test_a_slot_does_not_depend_on_which_others_are_drawn() -> None:
    settings: dict[str, Any] = {"batch_size": 4, "noise_offset": 0.1, "input_perturbation": 0.1}
    one, other = (draws(Pool(examples("a", 9)), **settings) for _ in range(2))
    for step in range(5):
        one.slots(step, range(4))
    alone, among = other.slots(7, range(2, 3))[0], one.slots(7, range(4))[2]
    assert (alone.shown, alone.timestep) == (among.shown, among.timestep)
    assert torch.equal(alone.noise, among.noise)
    assert torch.equal(alone.added_noise, among.added_noise)


def test_pools_have_their_share_of_every_step() -> None:
    drawn = draws(Pool(examples("new", 5), 0.75), Pool(examples("old", 50), 0.25), batch_size=8)
    for step in range(4):
        images = [slot.shown.image for slot in drawn.slots(step, range(8))]
        assert sum(image.startswith("old") for image in images) == 2


def test_a_share_too_small_for_the_batch_is_refused() -> None:
    pools = [Pool(examples("new", 5), 0.9), Pool(examples("old", 5), 0.1)]
    assert pool_sizes(pools, 10) == [9, 1]
    with pytest.raises(GeneratorError, match="larger batch"):
        pool_sizes(pools, 4)


def test_what_is_dropped_has_its_share() -> None:
    config = TrainingConfig(drop_conditions=0.1, drop_text=0.2, drop_modality=0.0, drop_images=0.3)
    assert [drop_at(config, draw) for draw in (0.05, 0.15, 0.31, 0.65)] == [
        Drop.CONDITIONS,
        Drop.TEXT,
        Drop.IMAGES,
        Drop.NOTHING,
    ]


def test_dropping_leaves_the_other_part_of_a_prompt() -> None:
    prompt = Prompt("OCT", "drusen")
    assert shown_prompt(prompt, Drop.TEXT) == Prompt("OCT", "")
    assert shown_prompt(prompt, Drop.MODALITY) == Prompt("", "drusen")
    assert shown_prompt(prompt, Drop.CONDITIONS) == Prompt("", "")
    assert shown_prompt(prompt, Drop.IMAGES) == prompt


def test_half_of_the_draws_are_mirrored_where_that_is_allowed() -> None:
    drawn = draws(Pool(examples("a", 50, mirrored=True)), batch_size=50)
    images = [slot.shown.image for step in range(4) for slot in drawn.slots(step, range(50))]
    assert 70 < sum(image.endswith("mirrored") for image in images) < 130


def test_a_mirrored_image_is_shown_with_its_own_prompt() -> None:
    for slot in draws(Pool(examples("a", 50, mirrored=True)), batch_size=50).slots(0, range(50)):
        assert slot.shown.image.endswith("mirrored") == slot.shown.prompt.text.endswith("mirrored")


def test_noise_offset_moves_whole_channels() -> None:
    plain = draws(Pool(examples("a", 1)), batch_size=1).slots(0, range(1))[0]
    moved = draws(Pool(examples("a", 1)), batch_size=1, noise_offset=0.5).slots(0, range(1))[0]
    shift = moved.noise - plain.noise
    assert shift.flatten(1).std(dim=1).max() < 1e-6
    assert shift.abs().max() > 0.01
    assert torch.equal(moved.noise, moved.added_noise)


def test_input_perturbation_adds_noise_that_is_not_asked_back() -> None:
    plain = draws(Pool(examples("a", 1)), batch_size=1).slots(0, range(1))[0]
    more = draws(Pool(examples("a", 1)), batch_size=1, input_perturbation=0.1).slots(0, range(1))[0]
    assert torch.equal(plain.noise, more.noise)
    assert 0.02 < (more.added_noise - more.noise).std() < 0.2
