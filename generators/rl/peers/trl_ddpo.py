"""`trl-ddpo`: the same step through TRL's own DDPOTrainer, as the reference to compare with.

Needs the extra `trl` (0.23.1, the last release that has the trainer). It sees our prompts' very
embeddings, our decoder and our reward, so that only the training differs. It runs in one process,
cannot be resumed and has no anchor: see docs/rl-step.md for what its trainer does otherwise.
"""

import itertools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from generators.base import Conditions, Prompt, Trajectory
from generators.diffusion.generator import STOCK_PARTS
from generators.errors import GeneratorError
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.policy import Policy
from generators.rl.progress import UpdateHealth
from generators.rl.source import Source, prompts_of_update
from generators.rl.training import Conduct, Rollouts, TrainedPolicy

BEGUN = "trl-updates-done.txt"


def train_with_trl(
    generator: Trajectory, source: Source, config: RLConfig, conduct: Conduct
) -> TrainedPolicy:
    """Run all updates from the start; return the trained policy, as `train` does.

    It learns from rollouts only. In one process, without a budget, and its own batches are what it
    needs: nothing else of `conduct` is asked.
    """
    assert isinstance(source, Rollouts)
    folder = conduct.folder
    begun = folder / BEGUN
    if begun.exists():  # TRL's trainer would go on with adapters at rest
        raise GeneratorError(
            f"trl-ddpo was stopped after update {begun.read_text().strip()}, and TRL's trainer "
            f"cannot go on. Remove {folder} to start over, or use --algorithm ddpo, which resumes."
        )
    policy = Policy(generator, config)
    trainer, rewards = trl_trainer(policy, source.prompts, source.reward, folder)
    seen: dict[str, Any] = {}  # what the trainer will log and see: its log goes to trackers only
    calculate_loss = trainer.calculate_loss

    def watched_loss(*arguments: Tensor) -> Any:
        seen["arguments"] = arguments
        return calculate_loss(*arguments)

    trainer.calculate_loss = watched_loss
    trainer.accelerator.log = lambda values, step: seen.update(values)
    steps = 0
    history: list[UpdateHealth] = []
    with torch.random.fork_rng():
        for update in range(config.num_updates):
            steps = trainer.step(update, steps)
            history.append(_health(policy, update, rewards, seen))
            begun.write_text(f"{update + 1} of {config.num_updates}\n")
            conduct.report(history[-1])
    policy.weights.averages.clear()  # TRL keeps none: the last weights are the result
    return TrainedPolicy(policy, tuple(history))


def trl_trainer(
    policy: Policy, prompts: Sequence[Prompt], reward: Reward, folder: Path
) -> tuple[Any, list[tuple[Tensor, Tensor]]]:
    """Return TRL's trainer over the policy's weights, and the list its rewards will be added to."""
    ddpo_config, trainer_class = _trl()
    generator, config = policy.generator, policy.config
    given: list[tuple[Tensor, Tensor]] = []

    def reward_of_numbers(
        images: Tensor, numbers: Sequence[str], _: object
    ) -> tuple[Tensor, dict[str, Any]]:
        with torch.no_grad():
            mean_B, spread_B = reward(images.float(), [prompts[int(n)] for n in numbers])
        given.append((mean_B, spread_B))
        return mean_B - config.spread_penalty * spread_B, {}

    numbers = (  # the prompts that our own rollouts would use, image by image
        str(prompt)
        for update in itertools.count()
        for prompt in prompts_of_update(len(prompts), config, update)
        for _ in range(config.group_size)
    )
    trainer = trainer_class(
        ddpo_config(**ddpo_settings(config, generator, folder)),
        reward_of_numbers,
        lambda: (next(numbers), {}),
        _pipeline(generator, prompts, config, folder),
    )
    return trainer, given


def ddpo_settings(config: RLConfig, generator: Trajectory, folder: Path) -> dict[str, Any]:
    """Return TRL's names for these settings. Its batches must divide the images of an update."""
    images = config.images_per_update
    sample_batch = math.gcd(images, config.rollout_batch)
    train_batch = math.gcd(sample_batch, config.micro_batch)
    steps_an_epoch = images // train_batch
    if steps_an_epoch % config.minibatches:
        raise GeneratorError(
            f"trl-ddpo cannot split {images} images into {config.minibatches} parts."
        )
    return {
        "num_epochs": config.num_updates,
        "save_freq": config.num_updates + 1,  # it would keep checkpoints that cannot be resumed
        "seed": config.seed,
        "mixed_precision": "no" if config.training_dtype == "float32" else "bf16",
        "allow_tf32": False,
        "sample_num_steps": config.num_steps,
        "sample_guidance_scale": config.guidance,
        "sample_batch_size": sample_batch,
        "sample_num_batches_per_epoch": images // sample_batch,
        "train_batch_size": train_batch,
        "train_gradient_accumulation_steps": steps_an_epoch // config.minibatches,
        "train_num_inner_epochs": config.inner_epochs,
        "train_cfg": config.guidance != 1,
        "train_learning_rate": config.learning_rate,
        "train_adam_weight_decay": 0.0,
        "train_max_grad_norm": config.max_grad_norm,
        "train_adv_clip_max": config.advantage_clip,
        "train_clip_range": config.clip_sum / math.prod(generator.latent_shape),
        "per_prompt_stat_tracking": True,
        "per_prompt_stat_tracking_buffer_size": max(config.baseline_buffer, config.group_size),
        "per_prompt_stat_tracking_min_count": config.group_size,
        "project_kwargs": {"project_dir": str(folder)},
    }


def _trl() -> tuple[Any, Any]:
    """Import the trainer; its deprecation is why it is pinned."""
    try:
        from accelerate import PartialState
        from trl import DDPOConfig, DDPOTrainer
    except ImportError as error:
        raise GeneratorError(
            f"trl-ddpo needs TRL's DDPOTrainer ({error}). Install it with "
            "`pip install 'curate-images[trl]'`: 0.23.1 is the last release that has it."
        ) from error
    if PartialState().num_processes > 1:
        raise GeneratorError(
            "TRL's DDPOTrainer does not synchronise gradients: several processes train apart. "
            "Start trl-ddpo in one."
        )
    warnings.filterwarnings("ignore", message="DDPOTrainer is deprecated")
    return DDPOConfig, DDPOTrainer


def _pipeline(
    generator: Trajectory, prompts: Sequence[Prompt], config: RLConfig, folder: Path
) -> Any:
    from trl import DefaultDDPOStableDiffusionPipeline

    generator.save(folder / "start")
    if not STOCK_PARTS <= {path.name for path in (folder / "start").iterdir()}:
        raise GeneratorError(
            f"trl-ddpo trains Stable Diffusion shaped generators, and {generator.family} is not "
            "one. Use --algorithm ddpo, which trains any."
        )
    conditions = Conditions.join(
        [generator.conditioner(prompts), generator.conditioner.unconditional(1)]
    )
    embeddings = Embeddings(conditions.parts["tokens"])  # a stock U-Net has cross-attention
    weights = list(generator.denoiser.parameters())
    adapted = not all(weight.requires_grad for weight in weights)
    trained = [weight for weight in weights if weight.requires_grad] if adapted else []

    class Pipeline(DefaultDDPOStableDiffusionPipeline):  # type: ignore[misc]  # trl is untyped
        """TRL's pipeline over our weights; prompts are row numbers of our embeddings."""

        tokenizer = Numbers(len(prompts))
        text_encoder = embeddings

        def get_trainable_layers(self) -> Any:
            """Return the U-Net with its adapters in float32 again, as TRL's own method does."""
            for weight in trained:
                weight.data = weight.data.float()
            return self.sd_pipeline.unet

    pipeline = Pipeline(str(folder / "start"), use_lora=True)
    pipeline.sd_pipeline.unet = generator.denoiser.network  # adapted, or free, as `Policy` made it
    if config.guidance == 1:  # today's diffusers would join the negative embeddings all the same
        pipeline.sd_pipeline._encode_prompt = lambda *texts, **options: options["prompt_embeds"]
    pipeline.sd_pipeline.text_encoder = None  # ours: the embeddings' precision is the U-Net's
    pipeline.set_progress_bar_config(disable=True)
    pipeline.set_progress_bar_config = lambda **options: None
    return pipeline


class Numbers:
    """A tokenizer whose texts are row numbers; the empty text is the unconditional row."""

    model_max_length = 1

    def __init__(self, unconditional: int) -> None:
        self.unconditional = unconditional

    def __call__(self, texts: str | Sequence[str], **options: Any) -> SimpleNamespace:
        """Return a row number a text, where a tokenizer returns token ids."""
        texts = [texts] if isinstance(texts, str) else texts
        ids = [[int(text) if text else self.unconditional] for text in texts]
        return SimpleNamespace(input_ids=torch.tensor(ids))

    def batch_decode(self, ids: Any, **options: Any) -> list[str]:
        """Return the texts again: TRL tells prompts apart by them."""
        return [str(int(row[0])) for row in ids]


class Embeddings:
    """A text encoder that looks rows up."""

    def __init__(self, tokens_BLD: Tensor) -> None:
        self.tokens_BLD = tokens_BLD

    def __call__(self, ids: Tensor) -> tuple[Tensor]:
        """Return the embeddings of these rows."""
        return (self.tokens_BLD[ids[:, 0].to(self.tokens_BLD.device)],)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Embeddings":
        """Move and convert them."""
        self.tokens_BLD = self.tokens_BLD.to(device, dtype)
        return self


@torch.no_grad()
def _health(
    policy: Policy, update: int, rewards: list[tuple[Tensor, Tensor]], seen: dict[str, Any]
) -> UpdateHealth:
    config = policy.config
    mean_B = torch.cat([mean for mean, _ in rewards]).float().cpu()
    spread_B = torch.cat([spread for _, spread in rewards]).float().cpu()
    rewards.clear()
    # how far the predictions for the last batch that was trained lie from the start's
    x_t, t_B, *_, tokens_BLD = seen["arguments"]
    conditions = Conditions.of(tokens=tokens_BLD[-len(x_t) :])  # guided: the conditional half
    denoiser = policy.generator.denoiser
    prediction = denoiser(x_t, t_B, conditions)
    with policy.at_start():
        change = (prediction - denoiser(x_t, t_B, conditions)).square().mean()
    return UpdateHealth(
        update=update,
        window_start=0,
        reward_mean=mean_B.mean().item(),
        reward_sd=(mean_B - config.spread_penalty * spread_B).std().item(),
        spread_mean=spread_B.mean().item(),
        zero_spread_groups=0,  # TRL does not look
        loss=seen["loss"].item(),
        clipped_fraction=seen["clipfrac"].item(),
        ratio_deviation=0.0,
        squared_change=change.item(),
        kl=None,
        kl_weight=0.0,
        gradient_norm=0.0,  # TRL does not say
        stopped=False,
        rollout_seconds=0.0,
        training_seconds=0.0,
    )
