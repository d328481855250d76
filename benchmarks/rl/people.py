"""200 rated images and no reward model: does `nft` raise the judge's share of top ratings?

    python -m benchmarks.rl.people OUT.jsonl [--seeds 3] [--algorithm dpo] [--tune FOLDER]

In a workspace of its own for each seed: the embedded model draws 10 images for each of the 20
shipped prompts, three simulated raters rate them (two an image), `nft` learns straight from those
ratings, and base and result draw 10 images a prompt at equal, unused seeds. Who rates (network A)
and who judges (network C) share neither weights nor training images. The intervals are of a paired
bootstrap over prompts, for each seed and for the means over the seeds. With `--algorithm dpo` the
raters compare the same images in 180 pairs instead.

`--tune` is for choosing settings: it shows what the raters' eyes see and writes the pictures to a
folder, and the judge is not asked. `--set learning_rate=1e-3` changes a setting of the step.
Each finished seed is a line of OUT.jsonl. Prints one JSON object.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.utils import save_image

from benchmarks.rl.embedded import FIRST_SEED, SAMPLING, embedded, finished, keep, likeness
from benchmarks.rl.embedded import pictures as pictures_of
from benchmarks.rl.embedded import prompts as shipped_prompts
from curate.evaluation.intervals import paired_bootstrap
from curate.production.plan import plan_run, settings_hash
from curate.production.run import run_plan
from curate.production.versions import embedded_version, load_version
from curate.prompts.plan import embedded_prompts
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.training.rl import rl_step_on_people
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.config import RLConfig, usual
from rewards.frozen import load_eyes, load_judge
from tests.curate.campaigns import create_campaign

RATED_PER_PROMPT = 10  # x 20 prompts: the 200 rated images


def ask(ws: Workspace, seed: int, *, pairs: bool) -> int:
    """Draw the images to learn from and have them rated, or compared; return how many answers."""
    run = plan_run(
        ws,
        embedded_version(ws),
        embedded_prompts(ws),
        count=RATED_PER_PROMPT,
        first_seed=1000 * seed,
        settings=SAMPLING,
    )
    run_plan(ws, run, lambda _: None)
    images = queries.runs.images_of_run(ws.session, run, settings_hash(run.settings))
    campaign = create_campaign(
        ws,
        name="first",
        images=images,
        raters=simulated_raters(3),
        overlap=1 if pairs else 2,
        seed=seed,
        pairs=pairs,
    )
    return simulate_campaign(ws, campaign, eyes=load_eyes(), advance=lambda _: None).new


class Tops:
    """The share of top ratings that one network gives to each prompt's images."""

    def __init__(self, per_prompt: int, *, by_judge: bool) -> None:
        self.network = load_judge() if by_judge else load_eyes()
        self.per_prompt = per_prompt
        self.prompts = [prompt for prompt in shipped_prompts() for _ in range(per_prompt)]

    def pictures(self, generator: DiffusionGenerator, seed: int) -> Tensor:
        """Return images at seeds that no rated image has."""
        first = FIRST_SEED + 1000 * seed
        seeds = range(first, first + len(self.prompts))
        return pictures_of(generator, self.prompts, seeds, SAMPLING)[1]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[float]:
        """Return the share of top ratings of each prompt."""
        modalities, labels = [p.modality for p in self.prompts], [p.label for p in self.prompts]
        top_B = self.network.score(images, modalities, labels).eq(3).float()
        shares: list[float] = top_B.view(-1, self.per_prompt).mean(dim=1).tolist()
        return shares


def one_seed(config: RLConfig, tops: Tops, sheets: Path | None) -> dict[str, Any]:
    """Return what one run from rating to judgement shows."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "workspace"
        init_workspace(folder)
        with open_workspace(folder) as ws:
            num_answers = ask(ws, config.seed, pairs=config.algorithm == "dpo")
            started, processor = time.perf_counter(), time.process_time()
            made = rl_step_on_people(ws, config, start=embedded_version(ws))
            seconds = time.perf_counter() - started, time.process_time() - processor
            result, updates = load_version(ws, made.id), made.metrics["updates"]
    before, after = (tops.pictures(g, config.seed) for g in (embedded(), result))
    if sheets:
        sheets.mkdir(parents=True, exist_ok=True)
        for name, images in (("before", before), ("after", after)):
            save_image(images, sheets / f"{name}-{config.seed}.png", nrow=2 * tops.per_prompt)
    return {
        "seed": config.seed,
        "answers": num_answers,
        "seconds_of_the_step": seconds[0],
        "cpu_seconds_of_the_step": seconds[1],
        "updates": len(updates),
        "squared_change": [round(update["squared_change"], 5) for update in updates],
        "ms_ssim": [likeness(images, tops.per_prompt) for images in (before, after)],
        "before_P": (before_P := tops(before)),
        "after_P": (after_P := tops(after)),
        "difference": asdict(paired_bootstrap(before_P, after_P)),
        "settings": config.to_json(),
    }


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return shares and differences, for each seed and over all."""
    before_P, after_P = (
        np.mean([run[name] for run in runs], axis=0) for name in ("before_P", "after_P")
    )
    return {
        "share_of_top": {"base": float(before_P.mean()), "after": float(after_P.mean())},
        "difference": asdict(paired_bootstrap(before_P, after_P)),
        "seeds": [
            {name: run[name] for name in ("seed", "difference", "ms_ssim", "squared_change")}
            for run in runs
        ],
        "cpu_seconds_of_the_steps": [round(run["cpu_seconds_of_the_step"]) for run in runs],
    }


def changed(pairs: Sequence[str]) -> dict[str, Any]:
    """Return NAME=VALUE settings, values as JSON or else as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--per-prompt", type=int, default=10, help="images judged")
    parser.add_argument("--algorithm", choices=["nft", "dpo"], default="nft")
    parser.add_argument("--tune", type=Path, metavar="FOLDER")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tops = Tops(options.per_prompt, by_judge=options.tune is None)
    runs = finished(options.out)
    done = {run["seed"] for run in runs}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        if seed not in done:
            config = usual(options.algorithm, **changed(options.set), seed=seed, micro_batch=32)
            runs.append(one_seed(config, tops, options.tune))
            keep(options.out, runs[-1])
    print(json.dumps(summary(runs), indent=2))


if __name__ == "__main__":
    main()
