"""Which way of seeing the source translates best, at equal weights and steps, on made-up heads.

    python -m benchmarks.translation.ways [--steps 250] [--seeds 0] [--ways cross,self contrast ...]

Each way is one network that learns from T1 slices alone and then translates five modalities that
it never saw: PD, T2, inverted, PD under a coil's bias field, and T2 with gamma 0.7. That no random
look-up of contrast randomisation leads to the first three is asserted. Baselines stand in the same
run, by the same network: SDEdit from 0.2 and 0.5, unguided, and the source as it is; a gain is over
the best of the four of each image. Prints a line of JSON a way and seed: CPU-seconds of one thread,
SSIM and PSNR with 95 % intervals over heads, Dice of grey and white matter by a segmenter that
knows T1's levels, and SSIM with 10, 25 and 50 steps.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.translation.drawable import can_be_drawn
from curate.evaluation.intervals import Estimate, bootstrap_mean
from curate.translation.heads import LOOKUPS, TISSUES, MadeUpHeads
from curate.translation.scores import dice, psnr, ssim
from generators.base import Conditions, Prompt
from generators.beginning import Beginning
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.families.translation import TRAINING, create
from generators.sample import Sample
from generators.training.lesson import Example, Lesson, Pool
from generators.training.loop import train
from generators.translation.config import TranslationSettings

SIZE, NUM_TRAIN, NUM_TEST = 32, 600, 32
# shows, and the step of guidance along the cross map's gradient
WAYS: dict[str, tuple[tuple[str, ...], float]] = {
    "cross,self": (("cross", "self"), 0.0),
    "contrast": (("contrast",), 0.0),
    "mind": (("mind",), 0.0),
    "self": (("self",), 0.0),
    "contrast,cross,self": (("contrast", "cross", "self"), 0.0),
    "contrast,mind": (("contrast", "mind"), 0.0),
    "gradient": ((), 0.1),
}
STEPS = 25
Pictures = NDArray[np.float32]


def sources_of(heads: MadeUpHeads) -> dict[str, Pictures]:
    """Return the test heads in each modality [N, H, W]."""
    for name in ("PD", "T2", "inverted"):
        known, asked = (torch.tensor(LOOKUPS[of], dtype=torch.float32) for of in ("T1", name))
        assert not can_be_drawn(known, asked), name
    plain = {name: heads.pictures(LOOKUPS[name], seed=1) for name in ("PD", "T2", "inverted")}
    return {
        **plain,
        "PD, bias field": heads.pictures(LOOKUPS["PD"], seed=1, bias=0.3),
        "T2, gamma 0.7": plain["T2"] ** 0.7,
    }


def lesson_of(pictures: Pictures) -> Lesson:
    """Return T1 slices, each its own source."""
    latents = {str(at): torch.from_numpy(one[None]) * 2 - 1 for at, one in enumerate(pictures)}

    def embed(prompt: Prompt) -> Conditions:
        image = latents[prompt.text]
        return Conditions.of(channels=torch.cat([image, torch.ones_like(image)])[None])

    examples = [Example(name, Prompt("T1", name), "T1") for name in latents]
    return Lesson([Pool(examples)], [], latents.__getitem__, embed)


def made(generator: DiffusionGenerator, sources: Pictures | None, **how: Any) -> torch.Tensor:
    """Return pictures [N, H, W] in 0 .. 1; without sources it samples freely."""
    settings = replace(SamplingSettings(num_steps=STEPS, batch_size=NUM_TEST), **how)
    prompts = [
        Prompt("T1", "", images={} if sources is None else {"source": Sample(sources[at][None])})
        for at in range(NUM_TEST)
    ]
    conditions = generator.condition(prompts)
    return generator.generate(conditions, range(NUM_TEST), settings)[:, 0].clamp(0, 1)


def labels(pictures: torch.Tensor) -> torch.Tensor:
    """Return the tissue whose T1 level is nearest to each pixel."""
    levels = torch.tensor(LOOKUPS["T1"], dtype=torch.float32)
    return (pictures[..., None] - levels).abs().argmin(dim=-1)


def told(values: torch.Tensor) -> dict[str, float]:
    """Return a mean over heads and its interval."""
    found: Estimate = bootstrap_mean(values.double().numpy())
    return {name: round(getattr(found, name), 4) for name in ("value", "low", "high")}


def figures(generator: DiffusionGenerator, heads: MadeUpHeads) -> dict[str, Any]:
    """Return what one trained network reaches on each modality."""
    truth = torch.from_numpy(heads.pictures(LOOKUPS["T1"], seed=2))
    tissues = torch.from_numpy(heads.labels.astype(np.int64))
    free = made(generator, None)
    found: dict[str, Any] = {}
    matter = [TISSUES.index(tissue) for tissue in ("grey", "white")]
    for name, sources in sources_of(heads).items():
        raw = torch.from_numpy(sources)
        ours = made(generator, sources)
        others = {
            "SDEdit 0.2": made(generator, sources, strength=0.2),
            "SDEdit 0.5": made(generator, sources, strength=0.5),
            "unguided": free,
            "source as it is": raw,
        }
        of_others = {other: ssim(image, truth) for other, image in others.items()}
        best_N = torch.stack(list(of_others.values())).max(dim=0).values
        best_psnr_N = torch.stack([psnr(image, truth) for image in others.values()]).max(0).values
        found[name] = {
            "ssim": told(ssim(ours, truth)),
            "gain": told(ssim(ours, truth) - best_N),
            "psnr": told(psnr(ours, truth)),
            "psnr_gain": told(psnr(ours, truth) - best_psnr_N),
            "dice": told(torch.stack([dice(labels(ours), tissues, t) for t in matter]).mean(0)),
            "dice_raw": told(torch.stack([dice(labels(raw), tissues, t) for t in matter]).mean(0)),
            "others": {
                other: round(float(values.mean()), 4) for other, values in of_others.items()
            },
        }
    for steps in (10, 50):
        again = made(generator, sources_of(heads)["PD"], num_steps=steps)
        found[f"PD in {steps} steps"] = told(ssim(again, truth))
    true = torch.stack([dice(labels(truth), tissues, t) for t in matter]).mean(0)
    return {**found, "dice_of_the_true_target": told(true)}


def main() -> None:
    """Train and measure each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    learned = MadeUpHeads.made_up(NUM_TRAIN, SIZE, seed=0).pictures(LOOKUPS["T1"])
    heads = MadeUpHeads.made_up(NUM_TEST, SIZE, seed=1000)
    for seed in options.seeds:
        for way in options.ways:
            shows, gradient = WAYS[way]
            settings = TranslationSettings(size=SIZE, shows=shows, gradient=gradient)
            generator = create(settings, Beginning((), seed=seed))
            config = replace(
                TRAINING,
                num_steps=options.steps,
                batch_size=options.batch_size,
                micro_batch=options.batch_size,
                checkpoint_every=options.steps,
                validate_every=options.steps,
                seed=seed,
            )
            began = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                weights = train(generator, lesson_of(learned), config, folder=Path(folder)).weights
            seconds = time.process_time() - began
            generator.denoiser.eval()
            line = {"way": way, "seed": seed, "steps": options.steps, "cpu_s": round(seconds, 1)}
            with weights.at(weights.averages):
                print(json.dumps({**line, **figures(generator, heads)}), flush=True)


if __name__ == "__main__":
    main()
