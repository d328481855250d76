"""200 rated images and no reward model: does `nft` raise the judge's share of top ratings?

    python benchmarks/rl/people.py [--images-per-prompt 10] [--updates 12] [--seeds 3] [--json FILE]

In a workspace of its own: the embedded model draws 10 images for each of the 20 shipped prompts,
three simulated raters rate them (two an image), `nft` learns straight from those ratings, and base
and result draw 20 images a prompt at equal, unused seeds. Who rates (network A) and who judges
(network C) share neither weights nor training images. The interval is a paired bootstrap over
prompts, per seed and over the seeds' means. Prints one JSON object.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from curate.evaluation.intervals import bootstrap_mean
from curate.evaluation.judge import judge_versions
from curate.generate import plan_run, run_plan, settings_hash
from curate.generators_store import embedded_version
from curate.quickstart import quickstart_prompts
from curate.rating.answers import create_campaign, simulate_campaign, simulated_raters
from curate.rl.config import RLConfig
from curate.rl.stage import rl_step_on_people
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries_generate
from generators.config import SamplingSettings
from rewards.frozen import load_eyes

SAMPLING = SamplingSettings(num_steps=10, sampler="dpm++", batch_size=32)
JUDGED_SEED = 1_000_000  # the first seed that is judged; no image to learn from has it
SETTINGS = RLConfig(
    algorithm="nft",
    prompts_per_update=8,
    group_size=8,
    lora_targets="attention+convolutions",
    learning_rate=1e-3,
    advantage_clip=2.0,
)


def rate(ws: Workspace, images_per_prompt: int, seed: int) -> int:
    """Draw and rate the images to learn from; return how many ratings there are."""
    run = plan_run(
        ws,
        embedded_version(ws),
        quickstart_prompts(ws),
        count=images_per_prompt,
        first_seed=1000 * seed,
        settings=SAMPLING,
    )
    run_plan(ws, run, lambda _: None)
    images = queries_generate.images_of_run(ws.session, run, settings_hash(run.settings))
    campaign = create_campaign(
        ws, name="first", images=images, raters=simulated_raters(3), overlap=2, seed=seed
    )
    simulate_campaign(ws, campaign, eyes=load_eyes(), advance=lambda _: None)
    return 2 * len(images)


def one_seed(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return what one run from rating to judgement shows."""
    init_workspace(folder)
    config = replace(SETTINGS, num_updates=options.updates, seed=seed)
    with open_workspace(folder) as ws:
        num_ratings = rate(ws, options.images_per_prompt, seed)
        start = embedded_version(ws)
        started = time.perf_counter()
        made = rl_step_on_people(ws, config, start=start)
        seconds = time.perf_counter() - started
        judged = judge_versions(
            ws,
            start.id,
            made.id,
            quickstart_prompts(ws),
            count=options.judged_per_prompt,
            first_seed=JUDGED_SEED + 1000 * seed,
            settings=SAMPLING,
        )
        updates = made.metrics["updates"]
    return {
        "seed": seed,
        "ratings": num_ratings,
        "seconds_of_the_step": seconds,
        "updates": len(updates),
        "squared_change": updates[-1]["squared_change"],
        "judged": asdict(judged),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images-per-prompt", type=int, default=10)
    parser.add_argument("--judged-per-prompt", type=int, default=20)
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(one_seed(Path(folder) / "workspace", options, seed))
    differences = [run["judged"]["difference"]["value"] for run in found]
    pooled = bootstrap_mean(differences) if len(differences) > 1 else None
    told = {
        "settings": SETTINGS.to_json(),
        "runs": found,
        "difference_over_seeds": asdict(pooled) if pooled else None,
    }
    text = json.dumps(told, indent=2)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
