"""One RL step each for several settings, from the same start by the same reward, side by side.

    python benchmarks/rl_trials.py WORKSPACE DATA [--only NAME ...] [--sheets FOLDER]

WORKSPACE holds a quickstart's result: its first reward model and the embedded model are used, and
nothing is written to it. DATA is the folder with the real images' data.csv. Each trial makes 10
images for each of the 20 shipped prompts with the deployed sampler, at the noise of all other
trials. What is compared are the simulated raters' eyes, KID by modality in feature network D,
sharpness relative to real images and MS-SSIM: never the judge, so that it stays unspent.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import save_image

from curate.evaluation.diversity import ms_ssim
from curate.evaluation.fidelity import squared_mmd
from curate.loop.config import quickstart_config
from curate.production.images import prompt_value
from curate.production.versions import embedded_version, load_version
from curate.prompts.plan import embedded_prompts
from curate.scoring.fit import load_reward_model
from curate.training.rl_step import reward_of
from curate.workspace import Workspace, open_workspace
from db import queries
from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator, decode, sample
from generators.rl.config import RLConfig
from generators.rl.training import Conduct, Rollouts, train
from rewards.frozen import load_eyes, load_features
from rewards.frozen.data import central_squares, read_images

SETTINGS = quickstart_config().loop.sampling
FIRST_SEED, IMAGES_PER_PROMPT = 1_000_000, 10

COMMON: dict[str, object] = dict(
    prompts_per_update=16, group_size=8, num_steps=10, rollout_dtype="bfloat16", spread_penalty=0.5
)
EVERYWHERE = "attention+convolutions"
TRIALS: dict[str, dict[str, object]] = {
    "noisier half, attention": dict(num_updates=8, learning_rate=6e-3),
    "noisier half": dict(num_updates=8, learning_rate=2.5e-3, lora_targets=EVERYWHERE),
    "from step 3": dict(
        num_updates=6, learning_rate=2e-3, lora_targets=EVERYWHERE, window_start=3
    ),
    "from step 5": dict(
        num_updates=5, learning_rate=2.5e-3, lora_targets=EVERYWHERE, window_start=5
    ),
    "from step 5, attention": dict(num_updates=6, learning_rate=4e-3, window_start=5),
    "from step 5, too long": dict(
        num_updates=9, learning_rate=2.5e-3, lora_targets=EVERYWHERE, window_start=5
    ),
    "nft": dict(
        algorithm="nft", num_updates=3, prompts_per_update=20, learning_rate=3e-3,
        inner_epochs=1, lora_targets=EVERYWHERE,
    ),
    "quickstart": quickstart_config().loop.rl.to_json(),
}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What a version's 200 images look like in figures; shapes: P prompts, B images."""

    images_BCHW: Tensor
    truth_B: Tensor
    top_B: Tensor
    ms_ssim: float
    kid: dict[str, float]
    sharpness: dict[str, float]


@dataclass(frozen=True)
class RealImages:
    """Real images by modality: features of D and mean Laplacian energy."""

    features: dict[str, Tensor]
    sharpness: dict[str, float]


def real_images(data: Path) -> RealImages:
    """Read train and val images."""
    rows = [row for split in ("train", "val") for row in read_images(data, split=split)]
    features, energies = features_in_d(squares := central_squares(rows)), laplacian_energy(squares)
    of = {
        m: [i for i, row in enumerate(rows) if row.modality == m]
        for m in {r.modality for r in rows}
    }
    return RealImages(
        {modality: features[indices] for modality, indices in of.items()},
        {modality: energies[indices].mean().item() for modality, indices in of.items()},
    )


def features_in_d(images_BCHW: Tensor) -> Tensor:
    """Return the features [B, D] of images in feature network D."""
    network = load_features()
    with torch.inference_mode():
        return torch.cat([network(part) for part in images_BCHW.split(64)]).double()


def laplacian_energy(images_BCHW: Tensor) -> Tensor:
    """Return the root mean square of the Laplacian of each image: 0 for a flat one."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    grey = images_BCHW.mean(dim=1, keepdim=True)
    return torch.nn.functional.conv2d(grey, kernel).square().flatten(1).mean(dim=1).sqrt()


@torch.no_grad()
def show(generator: DiffusionGenerator, prompts: list[Prompt], real: RealImages) -> Shown:
    """Make the images and measure them."""
    asked = [prompt for prompt in prompts for _ in range(IMAGES_PER_PROMPT)]
    seeds = range(FIRST_SEED, FIRST_SEED + len(asked))
    latents = sample(generator, generator.conditioner(asked), seeds, SETTINGS)
    images = generator.codec.to_unit(decode(generator, latents, SETTINGS.batch_size))
    images = images.expand(-1, 3, -1, -1)
    modalities, labels = [p.modality for p in asked], [p.label for p in asked]
    eyes, features, energies = load_eyes(), features_in_d(images), laplacian_energy(images)
    of = {m: [i for i, name in enumerate(modalities) if name == m] for m in sorted(set(modalities))}
    return Shown(
        images,
        eyes.truth(images, modalities, labels),
        (eyes.score(images, modalities, labels) == 3).float(),
        likeness_P(images, IMAGES_PER_PROMPT).mean().item(),
        {m: squared_mmd(features[i], real.features[m]).item() for m, i in of.items()},
        {m: energies[i].mean().item() / real.sharpness[m] for m, i in of.items()},
    )


def likeness_P(images_BCHW: Tensor, images_per_prompt: int) -> Tensor:
    """Return the mean MS-SSIM of the pairs of each prompt's images."""
    groups = images_BCHW.split(images_per_prompt)
    first, second = torch.tril_indices(images_per_prompt, images_per_prompt, offset=-1)
    return torch.stack([ms_ssim(group[first], group[second]).mean() for group in groups])


def paired(after_B: Tensor, before_B: Tensor) -> str:
    """Return the mean difference with its standard error over prompts."""
    difference_P = (after_B - before_B).view(-1, IMAGES_PER_PROMPT).mean(dim=1)
    error = difference_P.std() / len(difference_P) ** 0.5
    return f"{difference_P.mean():+.3f} +- {error:.3f}"


def line(name: str, shown: Shown, base: Shown, seconds: float) -> str:
    """Return a row of the table."""
    kid = " ".join(f"{m} {value:.2f}" for m, value in shown.kid.items())
    sharp = " ".join(f"{m} {value:.2f}" for m, value in shown.sharpness.items())
    return (
        f"{name}: {seconds:.0f} s | eyes' share of 3 {shown.top_B.mean():.3f} "
        f"({paired(shown.top_B, base.top_B)}) | truth {paired(shown.truth_B, base.truth_B)} | "
        f"MS-SSIM {shown.ms_ssim:.3f} ({shown.ms_ssim / base.ms_ssim - 1:+.1%}) | KID {kid} | "
        f"sharpness {sharp}"
    )


def trained(
    ws: Workspace, prompts: list[Prompt], config: RLConfig
) -> tuple[DiffusionGenerator, float]:
    """Return the generator after one RL step, adapters in place, and the seconds it took."""
    first = queries.reward_models.reward_models(ws.session)[0]
    reward = reward_of(load_reward_model(ws, first.id))
    generator = load_version(ws, embedded_version(ws).id)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        train(generator, Rollouts(prompts, reward), config, Conduct(Path(folder), lambda _: None))
    return generator, time.monotonic() - started


def main() -> None:
    """Run the trials and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--sheets", type=Path, help="folder for a picture of each trial's images")
    options = parser.parse_args()
    real = real_images(options.data)
    with open_workspace(options.workspace) as ws:
        prompts = [prompt_value(ws, row.id) for row in embedded_prompts(ws)]
        base = show(load_version(ws, embedded_version(ws).id), prompts, real)
        print(line("base", base, base, 0), flush=True)
        for name in options.only:
            generator, seconds = trained(
                ws, prompts, RLConfig.from_json({**COMMON, **TRIALS[name]})
            )
            shown = show(generator, prompts, real)
            print(line(name, shown, base, seconds), flush=True)
            if options.sheets is not None:
                options.sheets.mkdir(parents=True, exist_ok=True)
                save_image(shown.images_BCHW, options.sheets / f"{name}.png", nrow=20)


if __name__ == "__main__":
    main()
