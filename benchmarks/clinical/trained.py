"""A clinical generator trained in memory on procedural chests: what the other files measure."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from curate.clinical.chests import Chest, Planted, chest
from generators.base import Prompt, Trainable
from generators.beginning import Beginning
from generators.clinical.config import ClinicalSettings
from generators.families import clinical, clinical_gan
from generators.training.lesson import Example, Lesson, Pool
from generators.training.loop import train, trainable_conditioner

OWN = {"clinical": clinical, "clinical-gan": clinical_gan}
HELD_OUT = 1_000_000  # the first seed of cases that no training sees


def prompt_of(case: Chest) -> Prompt:
    """Return what a case asks for."""
    return Prompt("ChestCT", "", record=case.record, images={"mask": case.mask})


def trained(
    steps: int,
    *,
    family: str = "clinical",
    seed: int = 0,
    cases: int = 256,
    side: int = 16,
    planted: Planted | None = None,
    training: dict[str, Any] | None = None,
    **settings: Any,
) -> tuple[Trainable, float]:
    """Return a generator of the family after so many steps, and the CPU-seconds that they took."""
    several = [
        chest(number, side, planted) for number in range(seed * 100_000, seed * 100_000 + cases)
    ]
    chosen = ClinicalSettings(
        **{"channels": (8, 16, 32), "low": -1000.0, "high": 400.0, **settings}
    )
    beginning = Beginning([(case.image, prompt_of(case)) for case in several], seed)
    generator: Trainable = OWN[family].create(chosen, beginning)
    latents = {
        str(number): generator.codec.encode(torch.from_numpy(case.image.array)[None])[0]
        for number, case in enumerate(several)
    }
    examples = [Example(str(n), prompt_of(case), "ChestCT") for n, case in enumerate(several)]
    lesson = Lesson(
        [Pool(examples)], [], latents.__getitem__, lambda prompt: generator.condition([prompt])
    )
    config = replace(
        OWN[family].TRAINING,
        num_steps=steps,
        seed=seed,
        checkpoint_every=10**6,
        validate_every=10**6,
        **(training or {}),
    )
    before = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        done = train(generator, lesson, config, folder=Path(folder))
    spent = time.process_time() - before
    with torch.no_grad():
        for name, value in done.weights.averages.items():
            done.weights.named[name].copy_(value)
    conditioner = trainable_conditioner(generator)
    conditioner.forget()
    for module in (conditioner.text_encoder, generator.denoiser):
        module.requires_grad_(False)
    return generator, spent
