"""Does round after round help? Whole loops over several seeds, measured by what never took part.

    python -m benchmarks.rounds DATA [--rounds 3] [--seeds 3] [--workspaces FOLDER] [--json FILE]

Each seed is a `curate quickstart --rounds 3` of its own (kept in FOLDER, so that a stopped
benchmark goes on). Then the base and the version that each round ended with, which is the one
before where the round was rejected, draw 20 images for each of the 20 shipped prompts at equal,
unused seeds. DATA is the folder with the real images' data.csv.

Pooled over seeds: last minus base with a bootstrap over pairs of seed and prompt; Page's test for
a trend over the rounds, each pair a row; every promoted round minus the version it began with; KID
by modality and the Frechet distance of all images, both in feature network D; MS-SSIM among images
of a prompt. Ratings are simulated. Prints one JSON object.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import sqrtm
from scipy.stats import page_trend_test
from torch import Tensor
from torchvision.utils import save_image

from benchmarks.rl_trials import RealImages, features_in_d, likeness_P, real_images
from curate.evaluation.fidelity import kid
from curate.evaluation.intervals import bootstrap_mean, paired_bootstrap
from curate.loop.config import quickstart_config
from curate.production.images import prompt_value
from curate.production.versions import load_version
from curate.prompts.plan import embedded_prompts
from curate.workspace import Workspace, open_workspace
from db import queries
from generators.base import Prompt
from generators.diffusion.generator import decode, sample
from rewards.frozen import load_judge

SETTINGS = quickstart_config().loop.sampling
FIRST_SEED, IMAGES_PER_PROMPT = 970_000_000, 20  # far from every round's, gate's and release's
MAX_MS_SSIM_RISE = 1.10


@dataclass(frozen=True)
class Shown:
    """What a version's images look like in figures; shapes: P prompts, B images, D features."""

    top_P: Tensor  # the judge's share of score 3
    ms_ssim_P: Tensor
    features_BD: Tensor


def run_loop(folder: Path, rounds: int, seed: int) -> None:
    """Run one quickstart as a user would; what is there already is not made again."""
    cli = Path(__file__).parents[1] / "cli.py"
    options = ("--rounds", str(rounds), "--seed", str(seed), "--json")
    command = [sys.executable, str(cli), "quickstart", str(folder), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@torch.no_grad()
def show(ws: Workspace, version_id: str, prompts: Sequence[Prompt], sheet: Path | None) -> Shown:
    """Make a version's images, at noise that all versions share, and measure them."""
    generator = load_version(ws, version_id)
    asked = [prompt for prompt in prompts for _ in range(IMAGES_PER_PROMPT)]
    seeds = range(FIRST_SEED, FIRST_SEED + len(asked))
    latents = sample(generator, generator.conditioner(asked), seeds, SETTINGS)
    images = generator.codec.to_unit(decode(generator, latents, SETTINGS.batch_size))
    images_BCHW = images.expand(-1, 3, -1, -1)
    judged_B = load_judge().is_good(
        images_BCHW, [p.modality for p in asked], [p.label for p in asked]
    )
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        save_image(images_BCHW, sheet, nrow=IMAGES_PER_PROMPT)
    return Shown(
        judged_B.double().view(-1, IMAGES_PER_PROMPT).mean(1),
        likeness_P(images_BCHW, IMAGES_PER_PROMPT),
        features_in_d(images_BCHW),
    )


def chain(folder: Path, sheets: Path | None) -> tuple[list[str], list[Shown], list[str]]:
    """Return the rounds' ends, base and each round's result, and the prompts' modalities."""
    with open_workspace(folder) as ws:
        rows = embedded_prompts(ws)
        prompts = [prompt_value(ws, row.id) for row in rows]
        rounds = queries.rounds.rounds(ws.session)
        ids, states = [rounds[0].base_version_id], [row.state for row in rounds]
        for row in rounds:
            promoted = row.state == "promoted"
            ids.append(row.new_version_id if promoted else ids[-1])
        made = {
            id_: show(ws, id_, prompts, sheets and sheets / f"{folder.name}-{n}.png")
            for n, id_ in enumerate(dict.fromkeys(ids))
        }
    return states, [made[id_] for id_ in ids], [prompt.modality for prompt in prompts]


def frechet(features_ND: Tensor, real_MD: Tensor) -> float:
    """Return the Frechet distance of Gaussians fitted to features (Heusel et al. 2017, NIPS)."""
    first, second = features_ND.numpy(), real_MD.numpy()
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = np.asarray(sqrtm(covariances[0] @ covariances[1]))
    shift = first.mean(0) - second.mean(0)
    return float(shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root.real))


def kids(shown: Sequence[Shown], modalities: Sequence[str], real: RealImages) -> dict[str, Any]:
    """Return KID by modality, all seeds' images together."""
    found = {}
    for modality in sorted(set(modalities)):
        of_B = torch.tensor([m == modality for m in modalities]).repeat_interleave(
            IMAGES_PER_PROMPT
        )
        features_ND = torch.cat([one.features_BD[of_B] for one in shown])
        found[modality] = asdict(kid(features_ND, real.features[modality]))
    return found


def pooled(
    chains: Sequence[list[Shown]],
    states: Sequence[list[str]],
    modalities: Sequence[str],
    real: RealImages,
) -> dict[str, Any]:
    """Return the figures of all seeds together."""
    columns = list(zip(*chains, strict=True))  # base, after round 1, after round 2 ...
    top = [torch.cat([shown.top_P for shown in column]) for column in columns]
    likeness = [torch.cat([shown.ms_ssim_P for shown in column]) for column in columns]
    trend = page_trend_test(torch.stack(top, 1).numpy())
    all_real = torch.cat(list(real.features.values()))
    fids = [frechet(torch.cat([s.features_BD for s in column]), all_real) for column in columns]
    return {
        "share_of_3": [asdict(bootstrap_mean(share)) for share in top],
        "last_minus_base": asdict(paired_bootstrap(top[0], top[-1])),
        "trend": {"test": "Page", "statistic": float(trend.statistic), "p": float(trend.pvalue)},
        "promoted_rounds": [
            asdict(paired_bootstrap(shown[n].top_P, shown[n + 1].top_P))
            | {"seed": seed, "round": n + 1}
            for seed, shown in enumerate(chains)
            for n, state in enumerate(states[seed])
            if state == "promoted"
        ],
        "ms_ssim": [asdict(bootstrap_mean(values)) for values in likeness],
        "kid": [kids(column, modalities, real) for column in columns],
        "frechet": fids,
    }


def bars(figures: dict[str, Any]) -> dict[str, bool]:
    """Return which bars are reached."""
    first, last = figures["kid"][0], figures["kid"][-1]
    return {
        "last above base": figures["last_minus_base"]["low"] > 0,
        "trend": bool(figures["trend"]["p"] < 0.01),
        "no promoted round lower": all(row["high"] >= 0 for row in figures["promoted_rounds"]),
        "KID not worse": all(last[m]["low"] <= first[m]["high"] for m in first),
        "varied": figures["ms_ssim"][-1]["value"]
        <= MAX_MS_SSIM_RISE * figures["ms_ssim"][0]["value"],
    }


def main() -> None:
    """Run the loops and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workspaces", type=Path, default=Path("rounds"))
    parser.add_argument("--sheets", type=Path, help="folder for a picture of each version's images")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chains, states, modalities = [], [], []
    for seed in range(options.seeds):
        folder = options.workspaces / f"seed{seed}"
        run_loop(folder, options.rounds, seed)
        ends, shown, modalities = chain(folder, options.sheets)
        chains.append(shown)
        states.append(ends)
        shares = ", ".join(f"{one.top_P.mean():.3f}" for one in shown)
        print(f"seed {seed}: {ends}, judge's share of 3: {shares}", file=sys.stderr, flush=True)
    figures = pooled(chains, states, modalities, real_images(options.data))
    told = {"rounds": states, "figures": figures, "bars": bars(figures)}
    text = json.dumps(told, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
