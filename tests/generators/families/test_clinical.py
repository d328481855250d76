"""The family as a whole: begun from cases, saved and opened, of any size, in two and three axes."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curate.clinical.chests import Chest, chest
from generators import lora, registry
from generators.base import Prompt, Trajectory
from generators.beginning import Beginning
from generators.clinical.config import ClinicalSettings
from generators.clinical.records import Record
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.rollout import rollout
from generators.errors import GeneratorError
from generators.families.clinical import _own_words, create
from generators.families.clinical_text import PLACEBO
from generators.sample import Sample
from tests.generators.replayed import log_prob_again

SETTINGS = SamplingSettings(num_steps=3, batch_size=2)
SMALL: dict[str, Any] = {"channels": (8, 8), "text_width": 16, "text_layers": 1, "placebos": 2}


def prompt_of(case: Chest) -> Prompt:
    return Prompt("ChestCT", "", record=case.record, images={"mask": case.mask})


def cases(count: int = 4, side: int = 8) -> list[tuple[Sample, Prompt]]:
    return [(case.image, prompt_of(case)) for case in (chest(n, side) for n in range(count))]


def flat(examples: list[tuple[Sample, Prompt]]) -> list[tuple[Sample, Prompt]]:
    """Return the cases' middle slices."""
    return [
        (
            Sample(image.array[:, 4], "HU"),
            dataclasses.replace(
                prompt, images={"mask": Sample(prompt.images["mask"].array[:, 4], "labels")}
            ),
        )
        for image, prompt in examples
    ]


def begun(examples: list[tuple[Sample, Prompt]], **settings: Any) -> DiffusionGenerator:
    generator = create(ClinicalSettings(**{**SMALL, **settings}), Beginning(examples, seed=1))
    draws = torch.Generator().manual_seed(0)
    for weight in generator.denoiser.parameters():  # as if it had learned something
        if not weight.any():
            weight.normal_(0, 0.2, generator=draws)
    return generator


FUSIONS = (("region",), ("affine",), ("cross-attention",), ("region", "cross-attention"), ("none",))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_was_saved_makes_the_same_bytes(
    fusion: tuple[str, ...], axes: int, tmp_path: Path
) -> None:
    examples = cases() if axes == 3 else flat(cases())
    generator = begun(examples, fusion=fusion)
    generator.save(tmp_path / "one")
    assert registry.family_of(tmp_path / "one") == "clinical"
    opened = registry.load("clinical", tmp_path / "one")
    assert isinstance(opened, Trajectory)
    prompts = [prompt for _, prompt in examples]
    made = [
        one.generate(one.condition(prompts), [1, 2, 3, 4], SETTINGS) for one in (generator, opened)
    ]
    assert torch.equal(*made)
    assert made[0].shape == (4, 1, *(8,) * axes)
    assert made[0].min() >= -1024 and made[0].max() <= 1024
    opened.save(tmp_path / "two")
    files = sorted(path for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert {path.name for path in files} >= {"clinical.json", "codec.json", "vocab.txt"} or files
    for path in files:
        again = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert again.read_bytes() == path.read_bytes(), path.name


def test_a_row_depends_on_its_own_prompt_only() -> None:
    generator = begun(cases(), fusion=("region", "cross-attention"))
    prompts = [prompt for _, prompt in cases()]
    together, alone = generator.condition(prompts), generator.condition(prompts[2:3])
    for name, part in alone.parts.items():
        assert torch.equal(together.parts[name][2:3], part), name


def test_the_record_alone_moves_an_image_and_fusion_none_does_not_hear_it() -> None:
    _, prompt = cases(1)[0]
    prompts = [dataclasses.replace(prompt, record={"smoking": one}) for one in ("never", "current")]
    for fusion, hears in ((("region",), True), (("none",), False)):
        generator = begun(cases(), fusion=fusion)
        made = generator.generate(generator.condition(prompts), [5, 5], SETTINGS)
        assert bool((made[0] - made[1]).any()) is hears


def test_a_trained_encoder_sees_placebos_and_a_sampler_does_not() -> None:
    generator = begun(cases(), placebos=20)
    conditioner: Any = generator.conditioner
    _, prompt = cases(1)[0]
    assert PLACEBO not in conditioner.text_of(prompt)
    drawn = conditioner._lot(prompt)
    assert 8 <= sum(name.startswith(PLACEBO) for name in drawn.record) <= 19  # 70 % of 20
    assert conditioner._lot(prompt).record == drawn.record
    assert "placebo" in conditioner.text_of(drawn)
    words = conditioner.tokenizer.tokenize(conditioner.text_of(drawn))
    assert any(word.startswith("placebo") for word in words)  # each is one word


@pytest.mark.parametrize("axes", [2, 3])
def test_adapters_on_all_its_layers_are_kept_and_merged(axes: int, tmp_path: Path) -> None:
    examples = cases() if axes == 3 else flat(cases())
    units = ("region", "affine", "cross-attention")
    adapted, plain = begun(examples, fusion=units), begun(examples, fusion=units)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        lora.add_lora(adapted, 2, lora.TARGETS["attention+convolutions"])
    names = lora.lora_state(adapted)
    for layer in ("conv1", "conv2", "conv_shortcut", "to_q", "to_out.0"):
        assert any(f".{layer}." in name for name in names), layer
    conditions = plain.condition([prompt for _, prompt in examples[:2]])
    before = plain.generate(conditions, [1, 2], SETTINGS)
    assert torch.equal(adapted.generate(conditions, [1, 2], SETTINGS), before)
    for name, weight in names.items():
        if lora.begins_at_zero(name):
            weight.data.fill_(0.05)
    lora.save_lora(adapted, tmp_path)
    lora.merge_lora(plain, tmp_path)
    with_adapters = adapted.generate(conditions, [1, 2], SETTINGS)
    merged = plain.generate(conditions, [1, 2], SETTINGS)
    assert (with_adapters - before).abs().max() > 1  # HU
    torch.testing.assert_close(merged, with_adapters, rtol=0, atol=0.1)


def test_its_rollouts_are_on_policy() -> None:
    generator = begun(cases(), fusion=("region", "affine", "cross-attention"))
    conditions = generator.condition([prompt for _, prompt in cases(2)])
    result = rollout(generator, conditions, [0, 1], SETTINGS)
    log_probs = log_prob_again(generator, conditions, result, 1, SETTINGS)
    assert torch.allclose(log_probs, result.log_probs_BK[:, 1], atol=1e-5)


def test_a_larger_volume_is_made_by_windows_the_same_alone_and_among_others() -> None:
    generator = begun(cases())
    large = [prompt_of(chest(number, 14)) for number in range(3)]
    several = generator.generate(generator.condition(large), [4, 5, 6], SETTINGS)
    alone = generator.generate(generator.condition(large[1:2]), [5], SETTINGS)
    assert several.shape == (3, 1, 14, 14, 14)
    assert torch.equal(several[1:2], alone)
    named = dataclasses.replace(SETTINGS, window=(8, 8, 8))
    assert torch.equal(generator.generate(generator.condition(large[1:2]), [5], named), alone)


def test_its_hu_are_those_of_its_codec_to_half_a_unit() -> None:
    codec = begun(cases()).codec
    hu = torch.arange(-1024, 1025).float()[None, None]
    assert (codec.to_values(codec.decode(codec.encode(hu))) - hu).abs().max() <= 0.5


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.full((1, 8, 8, 8), 9, np.uint8), "label 9, and this generator knows 0, 1, 2, 3, 4"),
        (np.zeros((1, 8, 8), np.uint8), r"mask of 2 axes \[8, 8\]; this generator makes 3"),
    ],
)
def test_a_mask_that_nobody_knows_is_refused(mask: np.ndarray[Any, Any], says: str) -> None:
    generator = begun(cases())
    with pytest.raises(GeneratorError, match=says):
        generator.condition([Prompt("ChestCT", "", images={"mask": Sample(mask, "labels")})])


def test_a_text_longer_than_the_encoder_reads_is_refused() -> None:
    generator = begun(cases(), text_length=12)
    with pytest.raises(GeneratorError, match=r"tokens long, but this generator reads 12.*text_len"):
        generator.condition([Prompt("ChestCT", "word " * 20)])


def test_examples_that_cannot_be_one_generators_are_refused() -> None:
    [(image, prompt)] = cases(1)
    smaller = Sample(prompt.images["mask"].array[:, :4], "labels")
    for examples, says in (
        ([], "examples are none"),
        ([(image, Prompt("ChestCT", "a chest"))], "has no mask"),
        ([(image, Prompt("ChestCT", "", images={"mask": smaller}))], "Bring both to one grid"),
        (cases(1) + flat(cases(1)), "one kind"),
    ):
        with pytest.raises(GeneratorError, match=says):
            begun(examples)
    with pytest.raises(GeneratorError, match="give some of region, affine, cross-attention"):
        ClinicalSettings(fusion=("film",))


def test_records_that_nobody_wrote_a_map_for_say_name_and_value() -> None:
    records: list[Record] = [
        {"age": 61, "smoker": "yes", "note, short": "a, b"},
        {"age": 4.5, "smoker": "no"},
    ]
    fields = _own_words(records)
    text = fields.build(fields.clean(records[0]))
    assert text == 'Record: age 61, smoker yes, note short "a, b".'
    assert [fields.parse(fields.build(fields.clean(r))) for r in records] == records
