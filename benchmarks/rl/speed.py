"""Rewarded images a second: our RL step against TRL 0.23.1's trainer, on the same small U-Net.

    python benchmarks/rl/speed.py [--blocks 5] [--epochs 3] [--threads 2] [--tiny] [--json FILE]

Question A (engine): `ddpo` with guidance, the mathematics that TRL has. Question B (method):
`window` without guidance against TRL with it; both-on and both-off beside it. Before anything is
timed, both must give the same loss and gradient on one stored trajectory (cosine above 0.999), a
ratio of 1 and nothing clipped. Arms run one after the other, never two at once, in interleaved
blocks; a block in which a fixed matrix product ran 10 % slower than at best is marked. TRL gets
its faster training batch of two. Rows of their own have torch.compile, which TRL does not offer.
Needs the extra `[trl]`. Prints one JSON object.
"""

import argparse
import json
import logging
import math
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.networks import UNet
from generators.rl.config import RLConfig
from generators.rl.peers.trl_ddpo import trl_trainer
from generators.rl.policy import Policy
from generators.rl.probe import found_fit
from generators.rl.progress import fresh_progress
from generators.rl.training import Rollouts, one_update, rewarded_images
from generators.rl.update import accumulate_gradient
from generators.training.processes import ALONE
from tests.tiny import tiny_generator, tiny_unet

PROMPTS = [Prompt("OCT", "drusen"), Prompt("CXR", "normal")]
GUIDANCE = 5.0
MEMORY_GIB = 8.0  # for the graphs of 16 x 9 guided pairs; TRL keeps none, and computes them again
SLOWED = 1.1  # a matrix product that took this times the best: another job was running
UNET = {  # 6.6 million weights, 16 x 16 latents
    "sample_size": 16,
    "block_out_channels": (64, 128, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "norm_num_groups": 32,
}


@dataclass(frozen=True)
class Arm:
    """One trainer with its settings; `epoch` makes 16 rewarded images and one optimiser step."""

    name: str
    config: RLConfig
    epoch: Callable[[], object]
    kept_images: int = 0  # of 16, whose training pass needs no forward pass


def brightness(images: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """A reward that costs nothing."""
    mean_B = images.mean(dim=(1, 2, 3))
    return mean_B, torch.zeros_like(mean_B)


def new_generator(tiny: bool) -> DiffusionGenerator:
    """Return the same generator each time."""
    generator = tiny_generator()
    if not tiny:
        torch.manual_seed(0)
        generator.denoiser = UNet(tiny_unet(**UNET)).eval().requires_grad_(False)
        generator.latent_shape = (4, 16, 16)
    return generator


def settings(algorithm: str, guidance: float) -> RLConfig:
    """16 images in 10 steps, rank 4 on the attention, no anchor: what TRL does."""
    return RLConfig(
        algorithm=algorithm,
        prompts_per_update=2,
        group_size=8,
        num_steps=10,
        guidance=guidance,
        lora_rank=4,
        learning_rate=3e-4,
        kl_weight=0.0,
        kl_target=math.inf,
        rollout_batch=16,
        micro_batch=40,
        memory_gib=MEMORY_GIB,
    )


def our_arm(generator: DiffusionGenerator, config: RLConfig) -> Arm:
    """Return one of ours."""
    policy = Policy(generator, config)
    source = Rollouts(PROMPTS, brightness)
    policy.fit = found_fit(
        policy, generator.condition(source.prompts[:1]), config.images_per_update
    )
    policy.compile()
    progress = [fresh_progress(config)]

    def epoch() -> None:
        progress.append(one_update(policy, source, progress.pop()))

    name = f"ours {config.algorithm}{_guided(config.guidance)}"
    if config.rollout_dtype != config.training_dtype:
        name += f" {config.rollout_dtype} rollout"
    if config.compile:
        name += " compiled"
    return Arm(name, config, epoch, policy.fit.kept_images)


def trl_arm(generator: DiffusionGenerator, config: RLConfig, folder: Path, train_batch: int) -> Arm:
    """Return TRL's trainer; it trains as many steps as we do: all but one."""
    config = replace(config, algorithm="trl-ddpo", micro_batch=train_batch)
    trainer, _ = trl_trainer(Policy(generator, config), PROMPTS, brightness, folder)
    trainer.num_train_timesteps = config.num_steps - 1  # of shuffled ones: as costly as ours
    trainer.accelerator.gradient_accumulation_steps = (16 // train_batch) * (config.num_steps - 1)
    name = f"trl batch {train_batch}{_guided(config.guidance)}"
    return Arm(name, config, lambda: trainer.step(0, 0))


def _guided(guidance: float) -> str:
    return " guided" if guidance != 1 else ""


def gate(tiny: bool, folder: Path) -> dict[str, float]:
    """Compare loss and gradient on one stored trajectory; raise where they differ."""
    config = settings("ddpo", GUIDANCE)
    generator = new_generator(tiny)
    policy = Policy(generator, config)
    _push_off(policy)
    conditions = generator.conditioner(PROMPTS)
    policy.fit = found_fit(policy, conditions, config.images_per_update)
    rewarded = rewarded_images(policy, PROMPTS, brightness, 0, ALONE)
    advantages_B = (rewarded.mean_B - rewarded.mean_B.mean()) / rewarded.mean_B.std()
    pairs: Any = rewarded.made.examples(policy, advantages_B)
    pairs = replace(pairs, weights_N=torch.ones_like(pairs.weights_N))  # TRL has no step weights
    kept = _of_the_engine(policy, pairs)  # as `ours` is timed, without predicting again
    ours = [_ours(policy, pairs, rows) for rows in torch.arange(len(pairs.t_N)).split(9)]
    trainer, _ = trl_trainer(policy, PROMPTS, brightness, folder)
    trainer.sd_pipeline.scheduler.set_timesteps(config.num_steps)
    theirs = [_theirs(policy, trainer, pairs, rows) for rows in torch.arange(144).split(9)]
    gradient, other = (torch.stack([p[1] for p in parts]).sum(0) for parts in (ours, theirs))
    cosine = torch.nn.functional.cosine_similarity(gradient, other, dim=0).item()
    found = {
        "gradient_cosine": cosine,
        "gradient_cosine_from_the_rollouts_graphs": torch.nn.functional.cosine_similarity(
            kept, other, dim=0
        ).item(),
        "gradient_norm_ratio": (gradient.norm() / other.norm()).item(),
        "largest_loss_difference": max(abs(a[0] - b[0]) for a, b in zip(ours, theirs, strict=True)),
        "largest_clipped_fraction": max(part[2] for part in ours + theirs),
        "largest_ratio_deviation": max(part[3] for part in ours),
    }
    if (
        min(cosine, found["gradient_cosine_from_the_rollouts_graphs"]) < 0.999
        or found["largest_clipped_fraction"]
        or found["largest_loss_difference"] > 1e-4
    ):
        raise SystemExit(f"The two do not compute the same; nothing was timed: {found}")
    return found


def _push_off(policy: Policy) -> None:
    """Leave the start, where half of every adapter has no gradient."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in policy.weights.named.values():
            weight.add_(0.02 * torch.randn_like(weight))


def _ours(policy: Policy, pairs: Any, rows: Tensor) -> tuple[float, Tensor, float, float]:
    from generators.diffusion.guidance import predict
    from generators.rl.policy import training_settings

    found = pairs.loss(
        predict(
            policy.generator,
            pairs.x_t[rows],
            pairs.t_N[rows],
            pairs.conditions.select(rows),
            training_settings(policy.config, pairs.guidance),
        ),
        None,
        rows,
    )
    found.loss.backward()
    return (found.loss.item(), _taken(policy), found.clipped_fraction, found.ratio_deviation)


def _of_the_engine(policy: Policy, pairs: Any) -> Tensor:
    accumulate_gradient(policy, replace(pairs, kept=list(pairs.kept)), None, kl_weight=0.0)
    return _taken(policy)


def _theirs(
    policy: Policy, trainer: Any, pairs: Any, rows: Tensor
) -> tuple[float, Tensor, float, float]:
    tokens = pairs.conditions.parts["tokens"][rows]
    loss, _, clipped = trainer.calculate_loss(
        pairs.x_t[rows],
        pairs.t_N[rows],
        pairs.x_next[rows],
        pairs.rollout_log_probs_N[rows],
        pairs.advantages_N[rows],
        torch.cat([trainer.neg_prompt_embed.repeat(len(rows), 1, 1), tokens]),
    )
    loss.backward()
    return (loss.item(), _taken(policy), clipped.item(), 0.0)


def _taken(policy: Policy) -> Tensor:
    gradients = [weight.grad for weight in policy.weights.named.values() if weight.grad is not None]
    assert len(gradients) == len(policy.weights.named)
    gradient = torch.cat([part.flatten().clone() for part in gradients])
    policy.weights.optimizer.zero_grad()
    return gradient


def seconds_of(run: Callable[[], object]) -> float:
    """Return how long it took."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def matrix_product() -> float:
    """Return FLOP/s of a fixed float32 product: the ceiling, and whether the machine is quiet."""
    a = torch.ones(768, 768)
    return 40 * 2 * 768**3 / seconds_of(lambda: [a @ a for _ in range(40)])


def flops_of_forward(generator: DiffusionGenerator) -> float:
    """Return the FLOP of one U-Net evaluation of one image."""
    conditions = generator.conditioner(PROMPTS[:1]).to(generator.device)
    x_t = torch.zeros(1, *generator.latent_shape, device=generator.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator.denoiser(x_t, torch.tensor([500], device=generator.device), conditions)
    return float(counter.get_total_flops())


def evaluations(arm: Arm) -> float:
    """Return U-Net evaluations a rewarded image; backward through adapters costs about one more."""
    halves = 1 if arm.config.guidance == 1 else 2
    trained = 9 if arm.config.algorithm == "trl-ddpo" else arm.config.num_trained_steps
    return halves * (arm.config.num_steps + (2 - arm.kept_images / 16) * trained)


def faster_trl(guidance: float, tiny: bool, folder: Path) -> Arm:
    """Return TRL with the training batch of 4 or 16 that is faster, both warm."""
    config = settings("ddpo", guidance)
    arms = [
        trl_arm(new_generator(tiny), config, folder / f"{guidance} {size}", size)
        for size in (4, 16)
    ]
    for arm in arms:
        arm.epoch()
    return min(arms, key=lambda arm: seconds_of(arm.epoch))


def blocks(arms: Sequence[Arm], num_blocks: int, epochs: int) -> list[dict[str, Any]]:
    """Return images a second by arm for each block, and how quiet the machine was."""
    found = []
    for _ in range(num_blocks):
        calibration, rates = [matrix_product()], {}
        for arm in arms:
            seconds = seconds_of(partial(run_epochs, arm, epochs))
            rates[arm.name] = 16 * epochs / seconds
            calibration.append(matrix_product())
        found.append({"images_per_second": rates, "matrix_product": calibration})
    return found


def run_epochs(arm: Arm, epochs: int) -> None:
    for _ in range(epochs):
        arm.epoch()


def ratios(found: Sequence[dict[str, Any]], ours: str, theirs: str) -> dict[str, float]:
    """Return the median of the blocks' ratios with its quartiles."""
    rates = [block["images_per_second"] for block in found]
    values = sorted(rate[ours] / rate[theirs] for rate in rates)
    low, _, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return {"median": statistics.median(values), "q1": low, "q3": high, "best": values[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="a U-Net of milliseconds: a trial")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        agreed = gate(options.tiny, Path(folder) / "gate")
        trl_guided = faster_trl(GUIDANCE, options.tiny, Path(folder))
        trl_plain = faster_trl(1.0, options.tiny, Path(folder))
        arms = [
            trl_guided,
            trl_plain,
            *(
                our_arm(new_generator(options.tiny), settings(algorithm, guidance))
                for algorithm in ("ddpo", "window")
                for guidance in (GUIDANCE, 1.0)
            ),
            our_arm(
                new_generator(options.tiny),
                replace(settings("window", 1.0), rollout_dtype="bfloat16"),
            ),
            *(
                our_arm(new_generator(options.tiny), replace(settings(*of), compile=True))
                for of in (("ddpo", GUIDANCE), ("window", 1.0))
            ),
        ]
        for arm in arms:
            arm.epoch()  # warm
        found = blocks(arms, options.blocks, options.epochs)
    flops, ceiling = (
        flops_of_forward(new_generator(options.tiny)),
        max(max(b["matrix_product"]) for b in found),
    )
    best = {arm.name: max(block["images_per_second"][arm.name] for block in found) for arm in arms}
    told = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads": options.threads,
            "torch": torch.__version__,
            "matrix_product_gflops": ceiling / 1e9,
            "disturbed_blocks": sum(
                min(block["matrix_product"]) * SLOWED < ceiling for block in found
            ),
        },
        "gate": agreed,
        "A: ours ddpo / trl, guided": ratios(found, "ours ddpo guided", trl_guided.name),
        "B: ours window plain / trl guided": ratios(found, "ours window", trl_guided.name),
        "A compiled": ratios(found, "ours ddpo guided compiled", trl_guided.name),
        "B compiled": ratios(found, "ours window compiled", trl_guided.name),
        "B with a bfloat16 rollout": ratios(found, "ours window bfloat16 rollout", trl_guided.name),
        "both guided: ours window / trl": ratios(found, "ours window guided", trl_guided.name),
        "both plain: ours window / trl": ratios(found, "ours window", trl_plain.name),
        "both plain: ours ddpo / trl": ratios(found, "ours ddpo", trl_plain.name),
        "images_of_16_that_keep_their_graphs": {arm.name: arm.kept_images for arm in arms},
        "best_images_per_second": best,
        "share_of_matrix_rate": {
            arm.name: best[arm.name] * evaluations(arm) * flops / ceiling for arm in arms
        },
        "blocks": found,
    }
    text = json.dumps(told, indent=2)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
