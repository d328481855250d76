"""A run that can be killed: after every update one file holds all there is to go on from.

Prompts, seeds and windows derive from (config.seed, update number), so that weights, their moving
averages, the old policy, the optimiser's moments, the KL weight, the prompts' reward buffers, how
much fits into memory and the finished updates are the whole state.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from generators.checkpoints import replaced, restore_training, training_tensors
from generators.errors import GeneratorError
from generators.rl.advantages import PromptBuffers
from generators.rl.config import RLConfig
from generators.rl.health import UpdateHealth
from generators.rl.memory import Fit
from generators.rl.policy import Policy

CHECKPOINT = "checkpoint.safetensors"
LOG = "updates.jsonl"


@dataclass(frozen=True)
class Progress:
    """Which updates are done; the KL weight and the prompts' reward buffers of the next."""

    history: tuple[UpdateHealth, ...]
    kl_weight: float
    buffers: PromptBuffers

    def is_finished(self, config: RLConfig) -> bool:
        """Return whether all updates are done, or the KL budget ended the run."""
        stopped = bool(self.history) and self.history[-1].stopped
        return stopped or len(self.history) >= config.num_updates


def fresh_progress(config: RLConfig) -> Progress:
    """Return a run that has done nothing yet."""
    return Progress((), config.kl_weight, PromptBuffers(config.baseline_buffer, {}))


def save_checkpoint(folder: Path, policy: Policy, progress: Progress) -> None:
    """Write the run's state, whole or not at all, then the log that people read."""
    metadata = {
        "config": json.dumps(policy.config.to_json()),
        "kl_weight": repr(progress.kl_weight),
        "fit": json.dumps(asdict(policy.fit)),
        "buffers": json.dumps(list(progress.buffers.rewards.items())),
        "history": json.dumps([health.to_json() for health in progress.history]),
    }
    tensors = training_tensors(
        policy.weights, policy.optimizer, average=policy.averages, old=policy.old
    )
    with replaced(folder / CHECKPOINT) as path:
        save_file(tensors, path, metadata=metadata)
    with replaced(folder / LOG) as path:
        lines = [json.dumps(health.to_json()) + "\n" for health in progress.history]
        path.write_text("".join(lines), encoding="utf-8")


def load_checkpoint(folder: Path, policy: Policy) -> Progress:
    """Put the run's state back into `policy`; without a checkpoint, return a fresh start.

    Raises GeneratorError when the checkpoint was made with other settings.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return fresh_progress(policy.config)
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata()
    config = RLConfig.from_json(json.loads(metadata["config"]))
    if config != policy.config:
        raise GeneratorError(
            f"{path} was made with other settings: {config}. Go on with those, or name a new "
            "folder to start over."
        )
    restore_training(
        load_file(path), policy.weights, policy.optimizer, average=policy.averages, old=policy.old
    )
    policy.fit = Fit(**json.loads(metadata["fit"]))
    history = [UpdateHealth.from_json(one) for one in json.loads(metadata["history"])]
    buffers = PromptBuffers(config.baseline_buffer, dict(json.loads(metadata["buffers"])))
    return Progress(tuple(history), float(metadata["kl_weight"]), buffers)
