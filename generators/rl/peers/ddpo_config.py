"""TRL's DDPOConfig, read as our own settings: a home for those whose trainer was removed.

Source of the fields: TRL 0.23.1, `trl/trainer/ddpo_config.py`. Standard library only.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generators.errors import GeneratorError
from generators.rl.config import RLConfig

LATENT_ELEMENTS = 4 * 64 * 64  # of Stable Diffusion at 512 px, which clip ranges are meant for
LORA_RANK = 4  # of TRL's default pipeline
DEFAULTS: dict[str, Any] = {
    "num_epochs": 100,
    "seed": 0,
    "mixed_precision": "fp16",
    "sample_num_steps": 50,
    "sample_eta": 1.0,
    "sample_guidance_scale": 5.0,
    "sample_batch_size": 1,
    "sample_num_batches_per_epoch": 2,
    "train_batch_size": 1,
    "train_learning_rate": 3e-4,
    "train_gradient_accumulation_steps": 1,
    "train_max_grad_norm": 1.0,
    "train_num_inner_epochs": 1,
    "train_cfg": True,
    "train_adv_clip_max": 5.0,
    "train_clip_range": 1e-4,
    "train_timestep_fraction": 1.0,
    "per_prompt_stat_tracking": False,
    "per_prompt_stat_tracking_buffer_size": 16,
}
NOT_NEEDED = {  # logging and the hub: each update is in the version's row
    *("exp_name", "run_name", "log_with", "tracker_kwargs", "tracker_project_name", "logdir"),
    *("accelerator_kwargs", "project_kwargs", "save_freq", "num_checkpoint_limit", "allow_tf32"),
    *("resume_from", "async_reward_computation", "max_workers", "negative_prompts", "push_to_hub"),
    *("train_use_8bit_adam", "train_adam_beta1", "train_adam_beta2", "train_adam_epsilon"),
    *("train_adam_weight_decay", "per_prompt_stat_tracking_min_count"),
}


def read_ddpo_config(path: Path) -> tuple[RLConfig, list[str]]:
    """Return the settings in a JSON file of DDPOConfig fields, and what is done differently here.

    Write the file with `json.dumps(vars(ddpo_config))`. Raises GeneratorError for what is no such
    file, for unknown fields and for settings that cannot be run.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GeneratorError(
            f"{path} is not a JSON file of DDPOConfig fields ({error}). Write it from Python: "
            "json.dumps(vars(ddpo_config))."
        ) from error
    if not isinstance(values, dict):
        raise GeneratorError(f"{path} holds a {type(values).__name__}, not an object of fields.")
    return from_ddpo_config(values)


def from_ddpo_config(values: Mapping[str, Any]) -> tuple[RLConfig, list[str]]:
    """Like `read_ddpo_config`, from the fields; those not given have TRL's defaults."""
    unknown = sorted(set(values) - set(DEFAULTS) - NOT_NEEDED)
    if unknown:
        raise GeneratorError(
            f"DDPOConfig has no field {', '.join(unknown)}. Known: {', '.join(sorted(DEFAULTS))}."
        )
    ddpo = {**DEFAULTS, **{name: values[name] for name in values if name in DEFAULTS}}
    images = ddpo["sample_batch_size"] * ddpo["sample_num_batches_per_epoch"]
    divisors = [size for size in range(2, 9) if images % size == 0]
    if not divisors:
        raise GeneratorError(
            f"{images} images an epoch (sample_batch_size x sample_num_batches_per_epoch) cannot "
            "be grouped by prompt. Make it a multiple of 8: images are compared with siblings."
        )
    group_size = max(divisors)  # how many of an epoch's images share a prompt: 8, or the next below
    steps, trained = ddpo["sample_num_steps"], ddpo["train_timestep_fraction"]
    a_step = ddpo["train_batch_size"] * ddpo["train_gradient_accumulation_steps"]
    half = ddpo["mixed_precision"] in ("fp16", "bf16")
    config = RLConfig(
        algorithm="ddpo" if trained == 1 else "window",
        num_updates=ddpo["num_epochs"],
        prompts_per_update=images // group_size,
        group_size=group_size,
        num_steps=steps,
        window_size=max(1, int(steps * trained)),
        guidance=ddpo["sample_guidance_scale"],
        lora_rank=LORA_RANK,
        learning_rate=ddpo["train_learning_rate"],
        inner_epochs=ddpo["train_num_inner_epochs"],
        minibatches=max(1, images // a_step),
        clip_sum=ddpo["train_clip_range"] * LATENT_ELEMENTS,
        advantage_clip=ddpo["train_adv_clip_max"],
        max_grad_norm=ddpo["train_max_grad_norm"],
        baseline_buffer=(
            ddpo["per_prompt_stat_tracking_buffer_size"] if ddpo["per_prompt_stat_tracking"] else 0
        ),
        rollout_batch=max(ddpo["sample_batch_size"], 1),
        micro_batch=max(ddpo["train_batch_size"], 1),
        rollout_dtype="bfloat16" if half else "float32",
        training_dtype="bfloat16" if half else "float32",
        seed=ddpo["seed"],
    )
    return config, _differences(ddpo, values, config)


def _differences(ddpo: Mapping[str, Any], values: Mapping[str, Any], config: RLConfig) -> list[str]:
    """Return what a user of TRL should know, one line each."""
    notes = [
        f"prompts come {config.group_size} images at a time, which are compared with each other",
        f"adapters of rank {LORA_RANK} on the attention, as TRL's default pipeline has them",
        "the last, noiseless step is not trained; latents and the sampler stay float32",
        f"an anchor holds the predictions near the start (kl_target {config.kl_target:g}); "
        "TRL has none",
    ]
    if not math.isclose(ddpo["sample_eta"], 1.0):
        notes.append(f"sample_eta {ddpo['sample_eta']:g} is not supported: 1 is used")
    if not ddpo["train_cfg"] and config.guidance != 1:
        notes.append("guidance is trained as it is sampled; train_cfg false is not supported")
    if ddpo["mixed_precision"] == "fp16":
        notes.append("bfloat16 is used for fp16")
    ignored = sorted(name for name in values if name in NOT_NEEDED)
    if ignored:
        notes.append(f"not needed here: {', '.join(ignored)}")
    return notes
