"""Which fusion unit learns a text, at equal budget: mask adherence, planted effects, controls.

python -m benchmarks.clinical.effects --steps 1200 --seeds 0 1 2 [--fusion region ...] [--tiny]

A line of JSON a training: CPU-seconds of one thread, Dice of the lungs (and with shuffled masks),
and of each planted effect its size where it was planted, its sign and what lies outside.
"""

import argparse
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clinical.trained import HELD_OUT, prompt_of, trained
from curate.clinical.chests import (
    AGES,
    LABELS,
    LUNGS,
    Chest,
    Planted,
    _lower_third,
    chest,
    dice,
    segmented,
)
from curate.clinical.config import EffectConfig
from curate.clinical.effect import FieldValues, measured
from generators.base import Prompt, Trainable
from generators.config import SamplingSettings

FUSIONS = ("region", "affine", "cross-attention", "none", "region,cross-attention")
CHANGES: dict[str, tuple[Any, Any]] = {
    "smoking": ("never", "current"),
    "age": AGES,
    "diagnosis": ("normal", "fibrosis"),
    "sex": ("male", "female"),
}


def place_of(field: str, mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a field was planted; sex, which was not, is looked for in the lungs."""
    if field == "age":
        return np.asarray(mask == LABELS["body"])
    return _lower_third(mask) if field == "diagnosis" else np.asarray(np.isin(mask, LUNGS))


def made(
    generator: Trainable, cases: list[Chest], masks: list[Chest], **changed: Any
) -> list[NDArray[Any]]:
    """Return a volume a case, its mask from `masks`; equal seeds for equal places."""
    prompts = [
        Prompt("ChestCT", "", record={**case.record, **changed}, images={"mask": of.mask})
        for case, of in zip(cases, masks, strict=True)
    ]
    settings = SamplingSettings(num_steps=12, batch_size=8)
    images = generator.generate(generator.condition(prompts), range(len(cases)), settings)
    return list(images[:, 0].numpy())


def looked_at(generator: Trainable, side: int, count: int, further: int) -> dict[str, Any]:
    """Return the figures of one generator on masks that it has not seen."""
    cases = [chest(HELD_OUT + number, side, Planted(further=further)) for number in range(count)]
    masks = [case.mask.array[0] for case in cases]
    plain, turned = made(generator, cases, cases), made(generator, cases, cases[1:] + cases[:1])
    told: dict[str, Any] = {
        "dice": np.mean([dice(segmented(i), m, LUNGS) for i, m in zip(plain, masks, strict=True)]),
        "dice_shuffled": np.mean(
            [dice(segmented(i), m, LUNGS) for i, m in zip(turned, masks, strict=True)]
        ),
    }
    # two patients' lungs overlap too: lower than this no shuffled mask can bring it
    told["dice_of_masks_shuffled"] = np.mean(
        [dice(a, b, LUNGS) for a, b in zip(masks[1:] + masks[:1], masks, strict=True)]
    )
    for field, (a, b) in CHANGES.items():
        pairs = zip(
            made(generator, cases, cases, **{field: a}),
            made(generator, cases, cases, **{field: b}),
            masks,
            strict=True,
        )
        inside, outside = [], []
        for before, after, mask in pairs:
            where = place_of(field, mask)
            inside.append((after - before)[where].mean())
            outside.append(np.abs((after - before)[~where].mean()))
        told[field] = {
            "hu": np.mean(inside),
            "positive": np.mean(np.array(inside) > 0),
            "outside": np.mean(outside),
        }
    if further:
        asked = [FieldValues(f"further {number}", ("a", "b")) for number in range(further)]
        config = EffectConfig(count=count, pictures=0)
        prompts = [prompt_of(case) for case in cases]
        found, _, _ = measured(generator, prompts, asked, config, lambda done: None)
        wrong = {effect.test.field for effect in found if effect.is_found}
        told["further_found"] = f"{len(wrong)} of {further}"
    return told


def main() -> None:
    """Train, look, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", default="clinical", help="clinical, or clinical-gan")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fusion", nargs="+", default=list(FUSIONS))
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--masks", type=int, default=64)
    parser.add_argument("--further", type=int, default=0, help="fields without effect, tested too")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs")
    asked = parser.parse_args()
    if asked.tiny:
        asked.steps, asked.seeds, asked.fusion, asked.masks = 2, [0], ["region"], 2
    for fusion in asked.fusion:
        for seed in asked.seeds:
            generator, spent = trained(
                asked.steps,
                family=asked.family,
                seed=seed,
                side=asked.side,
                cases=16 if asked.tiny else 256,
                planted=Planted(further=asked.further),
                fusion=tuple(fusion.split(",")),
            )
            figures = looked_at(generator, asked.side, asked.masks, asked.further)
            line = {
                "family": asked.family,
                "fusion": fusion,
                "seed": seed,
                "steps": asked.steps,
                "cpu_s": spent,
                **figures,
            }
            print(json.dumps(line, default=lambda value: round(float(value), 3)), flush=True)


if __name__ == "__main__":
    main()
