"""What decides an RL step, beside the start version, the prompts and the reward."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from generators.config import setting
from generators.errors import GeneratorError

PEERS = ("trl-ddpo",)  # trained by others' trainers: see generators/rl/trainers.py
ALGORITHMS = ("window", "ddpo", "nft", "draft", "dpo", *PEERS)
BRANCHING = ("window", "ddpo")  # siblings can share a root and part inside their random steps
LORA_TARGETS = ("attention", "attention+convolutions")
SAMPLERS = ("ddim", "dpm++", "unipc")
DTYPES = ("float32", "bfloat16")
FEWEST_IMAGES = 64  # an update: below, the gradient is mostly noise (flow_grpo's experience)

CHECK_EVERY = 5  # updates
BASE_SHARE = 3.0  # x kl_target: as far from the base as three steps of unlike directions lead
# What was done before there was a setting for it. A step that was begun so keeps it; and so that
# its name stays the same, these values are not written.
BEFORE: Mapping[str, Any] = {
    "branches": 1,
    "holds_budget": False,
    "base_target": None,
    "check_every": 0,
}

# Where they differ from RLConfig's. Chosen on the embedded model by the simulated raters' eyes, the
# spread of images and by looking at them, never by the judge (docs/results.md).
USUAL: Mapping[str, Mapping[str, Any]] = {
    "window": {"branches": 4},
    "nft": {
        "num_updates": 6,  # its steps are large: most is gained in the first four
        "lora_targets": "attention+convolutions",
        "learning_rate": 1.5e-3,
        "minibatches": 4,  # bounded losses bear several optimiser steps on the same images
        "advantage_clip": 2.0,  # goodness is 0 or 1 from here on: 5 would call nearly all average
        "kl_target": 5e-3,
    },
    "dpo": {
        "num_updates": 8,
        "lora_targets": "attention+convolutions",
        "learning_rate": 1e-3,
        "minibatches": 4,
        "kl_target": 3e-3,
    },
}


@dataclass(frozen=True)
class RLConfig:
    """Settings of one RL step. B = prompts_per_update x group_size images are made an update.

    `window`: K = `window_size` of S = `num_steps` sampling steps are random and trained, the others
    are deterministic and free of charge. `ddpo`: all steps but the noiseless last one. `nft`:
    images come from the sampler that is deployed, and what is trained is their denoising; or they
    are images that people have rated. `draft`: the reward's own gradient. `dpo`: pairs that people
    have compared. `trl-ddpo`: TRL's trainer, as a reference (extra `trl`).
    """

    algorithm: str = setting(
        "window",
        "RL algorithm; docs/rl-step.md compares them.",
        choices=ALGORITHMS,
        panel="How it learns",
    )

    # how much: B = prompts_per_update x group_size new images an update
    num_updates: int = setting(
        20,
        "Number of RL updates; each makes, scores and learns from new images.",
        option="--updates",
    )
    # in shuffled rounds over all prompts, so each comes up
    prompts_per_update: int = setting(8, "Prompts per update.")
    group_size: int = setting(8, "Images per prompt, roots x branches; 2 or more.")
    # without it they grow from a noise each: so began whatever was begun before there were roots
    branches: int = setting(
        1,
        "For window and ddpo: images per root, which share noise and the steps before the window "
        "and are compared with each other.",
        shown=f"{USUAL['window']['branches']} for window, 1 beside --group-size",
    )

    # rollouts
    num_steps: int = setting(
        10, "Sampling steps S, 2 or more: as many as you generate with.", option="--steps"
    )
    # cost grows with K; 2 to 4 learn as well as all S
    window_size: int = setting(
        2, "For window: number K of the S steps that are random and trained.", option="--window"
    )
    window_start: int | None = None  # first random step, 0 = noisiest; None: anew each update,
    # in the noisier half, where anatomy is decided (late steps are where hacked textures live)
    # under `nft` the rollout alone costs double: the conditional prediction alone is trained
    guidance: float = setting(1.0, "Classifier-free guidance scale; other than 1 doubles the cost.")
    sampler: str = setting(
        "dpm++", "For nft: the sampler that you generate with.", choices=SAMPLERS
    )

    # nft (DiffusionNFT), dpo (Diffusion-DPO)
    timesteps_per_image: int = 4  # M noise levels an image is trained at, one of each M-th of all
    dpo_strength: float = 2000.0  # beta > 0: higher holds closer to the start (1000 .. 5000)
    nft_strength: float = 1.0  # beta in 0 .. 1 (excluded, included): how far apart the two implicit
    # policies lie; smaller takes larger steps from the same rewards
    old_decay: float = 0.5  # in 0 .. 1: the policy that makes the images follows the trained one as
    # old <- d old + (1 - d) trained after an update, d rising to this; 0: it is the trained one

    # learning
    # full weights need more memory and collapse sooner
    lora_rank: int = setting(
        8, "Rank of the LoRA adapters; 0 trains the full weights.", panel="Weights"
    )
    # "attention+convolutions" reaches texture
    lora_targets: str = setting("attention", "Layers that get adapters.", choices=LORA_TARGETS)
    # adapters 1e-4 .. 1e-3, full weights about 1e-5
    learning_rate: float = setting(3e-4, "Learning rate of AdamW; full weights need about 1e-5.")
    inner_epochs: int = 1  # times an update's images are learned from; the clip can act after one
    minibatches: int = 1  # optimiser steps a time, each on its part of the images, shuffled
    baseline_buffer: int = 0  # rewards kept of each prompt, whose mean is the baseline: for few
    # prompts, 16 .. 32 (DDPO); 0: the mean of the siblings
    clip_sum: float = 1.6  # nats of an image's summed log-ratio at which the clip acts. Log-probs
    # here are means over the D latent elements, so the clip range is clip_sum / D (1e-4 at 16,384)
    advantage_clip: float = 5.0  # standard deviations; one freak image cannot own the update
    max_grad_norm: float = 1.0  # L2 norm over all trained weights, as DDPO has it
    ema_decay: float = 0.0  # the result is a moving average of the weights; 0: the last weights

    # safety against reward hacking
    spread_penalty: float = setting(
        1.0,
        "Reward = mean - this x posterior standard deviation; 0: the mean alone.",
        panel="Safety against reward hacking",
    )
    # of the squared change of the predictions from the frozen start; steered afterwards to spend
    # the budget. 0: no anchor, only the stop
    kl_weight: float = setting(
        0.1, "Initial weight of the anchor to the start version; 0: no anchor."
    )
    # predictions have about unit variance (0.01 = a tenth of their scale). inf with a weight of 0:
    # nothing holds the weights, and the start is not even asked
    kl_target: float = setting(
        0.01, "Budget: mean squared change of the predictions; at 3 x this the run stops."
    )

    # scaled back to the budget after each update instead of overspending it
    holds_budget: bool = setting(
        False,
        "Settle at the budget: scale the change back after an update that would overspend it.",
        option="--hold-budget/--no-hold-budget",
        shown="hold-budget",
    )
    base_target: float | None = setting(
        None,
        "The same budget, from the version that no RL step made: for all rounds together.",
        shown=f"{BASE_SHARE:g} x --kl-target",
    )
    # by the reward, at noise that stays the same; the result is the best one. 0: the last weights
    check_every: int = setting(
        0, "Updates between two checks of what the result will be; 0: the last.", shown="5"
    )

    # the machine
    micro_batch: int = 0  # (image, step) pairs a backward pass, 0: as many as are fast and fit in
    # memory, found by trying. Memory and speed only: the gradient changes by rounding
    memory_gib: float = setting(
        2.0,
        "GiB for backward passes on a CPU, beside the weights; found by trial on a GPU.",
        option="--memory",
        panel="Machine",
    )
    rollout_batch: int = 32  # images a compute batch, rollout and decoding: one fixed shape
    # inside the denoiser, no gradients; bfloat16 is faster
    rollout_dtype: str = setting("float32", "Number format in rollouts.", choices=DTYPES)
    # bfloat16 is faster on GPUs, slower backwards on CPUs. It may differ from the rollout's: the
    # ratio's denominator comes from the training pass
    training_dtype: str = setting("float32", "Number format in training passes.", choices=DTYPES)
    compile: bool = setting(False, "Use torch.compile: slow to start, then faster.")
    seed: int = setting(0, "Seed of rollouts, windows, prompt order and initial weights.")

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for holds, needed in (*self._needs_of_images(), *self._needs_of_learning()):
            if not holds:
                raise GeneratorError(f"These RL settings cannot be run: {needed}. Found: {self}.")

    def _needs_of_images(self) -> list[tuple[bool, str]]:
        return [
            (self.algorithm in ALGORITHMS, f"algorithm is one of {', '.join(ALGORITHMS)}"),
            (self.group_size >= 2, "group_size is 2 or more: siblings are compared"),
            (
                self.branches == 1 or self.algorithm in BRANCHING,
                f"images grow from a common root where steps are random ({', '.join(BRANCHING)}), "
                f"and {self.algorithm} has none: its branches are 1",
            ),
            (
                self.branches >= 1 and self.group_size % self.branches == 0,
                "group_size is roots x branches, both 1 or more",
            ),
            (self.num_steps >= 2, "num_steps is 2 or more"),
            (
                1 <= self.window_size <= self.num_steps,
                f"window_size lies in 1 .. num_steps ({self.num_steps}): "
                "no more steps can be trained than are sampled",
            ),
            (
                self.window_start is None or 0 <= self.window_start <= self.last_window_start,
                f"window_start lies in 0 .. {self.last_window_start}: the last step has no noise",
            ),
            (self.sampler in SAMPLERS, f"sampler is one of {', '.join(SAMPLERS)}"),
            (self.rollout_batch >= 1, "rollout_batch is 1 or more"),
        ]

    def _needs_of_learning(self) -> list[tuple[bool, str]]:
        counts = (self.num_updates, self.prompts_per_update, self.inner_epochs, self.minibatches)
        above_0 = (self.learning_rate, self.clip_sum, self.advantage_clip, self.max_grad_norm)
        return [
            (
                min(counts) >= 1,
                "num_updates, prompts_per_update, inner_epochs and minibatches are 1 or more",
            ),
            (self.baseline_buffer >= 0, "baseline_buffer is 0 (siblings) or more"),
            (self.timesteps_per_image >= 1, "timesteps_per_image is 1 or more"),
            (0 < self.nft_strength <= 1, "nft_strength lies in 0 .. 1, 0 excluded"),
            (self.dpo_strength > 0, "dpo_strength is above 0"),
            (
                self.algorithm != "draft" or min(self.spread_penalty, self.kl_weight) > 0,
                "draft follows the reward's gradient wherever it leads, so that spread_penalty and "
                "kl_weight must be above 0",
            ),
            (self.algorithm != "dpo" or self.images_per_update % 2 == 0, "dpo takes pairs"),
            (0 <= self.old_decay < 1, "old_decay lies in 0 .. 1, 1 excluded"),
            (self.check_every >= 0, "check_every is 0 (no checks) or more"),
            (
                self.base_target is None or (self.base_target > 0 and self.holds_budget),
                "base_target is above 0, and held as the budget is (holds_budget)",
            ),
            (
                not self.holds_budget or self.asks_start,
                "to hold a budget kl_target must be finite",
            ),
            (self.lora_rank >= 0, "lora_rank is 0 (full weights) or more"),
            (self.lora_targets in LORA_TARGETS, f"lora_targets: {' or '.join(LORA_TARGETS)}"),
            (
                min(*above_0, self.kl_target) > 0,
                "learning_rate, clip_sum, advantage_clip, max_grad_norm and kl_target are above 0",
            ),
            (
                min(self.spread_penalty, self.kl_weight) >= 0,
                "spread_penalty and kl_weight are 0 or more",
            ),
            (0 <= self.ema_decay < 1, "ema_decay lies in 0 .. 1, 1 excluded"),
            (self.micro_batch >= 0, "micro_batch is 0 (found by trying) or more"),
            (self.memory_gib >= 0, "memory_gib is 0 (as little as can be) or more"),
            (
                {self.rollout_dtype, self.training_dtype} <= set(DTYPES),
                f"dtypes are {' or '.join(DTYPES)}",
            ),
        ]

    @property
    def is_peers(self) -> bool:
        """Say whether another library's trainer takes the updates: what it costs is not known."""
        return self.algorithm in PEERS

    @property
    def images_per_update(self) -> int:
        """Return B."""
        return self.prompts_per_update * self.group_size

    @property
    def check_images(self) -> int:
        """Return how many images a check makes: half an update's, in whole compute batches."""
        batches = max(self.images_per_update // 2 // self.rollout_batch, 1)
        return batches * self.rollout_batch

    @property
    def num_checks(self) -> int:
        """Return how many checks a whole run has; the last update is always checked."""
        return -(-self.num_updates // self.check_every) if self.check_every else 0

    @property
    def num_siblings(self) -> int:
        """Return how many images are compared with each other: a root's, or a prompt's.

        What one root's image is worth beyond another's was decided before the trained steps.
        """
        return self.branches if self.branches > 1 else self.group_size

    @property
    def num_trained_steps(self) -> int:
        """Return how many steps are random and trained: K, but never the noiseless last step."""
        last = self.num_steps - 1
        return last if self.algorithm == "ddpo" else min(self.window_size, last)

    @property
    def examples_per_image(self) -> int:
        """Return how many (image, noise level) pairs an image is trained at."""
        if self.algorithm in ("nft", "dpo"):
            return self.timesteps_per_image
        return 2 if self.algorithm == "draft" else self.num_trained_steps

    @property
    def training_guidance(self) -> float:
        """Return the guidance of the predictions that are trained."""
        return 1.0 if self.algorithm in ("nft", "dpo") else self.guidance

    @property
    def asks_start(self) -> bool:
        """Return whether the frozen start's predictions are needed."""
        return self.algorithm == "dpo" or self.kl_weight > 0 or self.kl_target < math.inf

    @property
    def keeps_old_policy(self) -> bool:
        """Return whether another policy than the trained one makes the images."""
        return self.algorithm == "nft"

    @property
    def last_window_start(self) -> int:
        """Return the last step at which a window can begin."""
        return self.num_steps - 1 - self.num_trained_steps

    def concerns(self) -> list[str]:
        """Return what can be run but will hardly teach anything."""
        if self.images_per_update >= FEWEST_IMAGES:
            return []
        return [
            f"{self.images_per_update} images an update; below {FEWEST_IMAGES} expect noise rather "
            "than learning. Raise prompts_per_update or group_size unless this is a trial."
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as rows and checkpoints keep them."""
        values = asdict(self)
        return {k: v for k, v in values.items() if k not in BEFORE or v != BEFORE[k]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RLConfig":
        """Return the settings that `to_json` wrote, also of a curate that had fewer."""
        return cls(**values)


def usual(algorithm: str = RLConfig.algorithm, **chosen: Any) -> RLConfig:
    """Return the algorithm's usual settings with those that were chosen.

    A group's size alone means as many roots: nobody knows how it should be parted.
    """
    settings = {**USUAL.get(algorithm, {}), **chosen, "algorithm": algorithm}
    if "group_size" in chosen and "branches" not in chosen:
        settings["branches"] = 1
    target = settings.get("kl_target", RLConfig.kl_target)
    if algorithm not in PEERS and math.isfinite(target):
        settings.setdefault("holds_budget", True)
        if settings["holds_budget"]:
            settings.setdefault("base_target", BASE_SHARE * target)
        settings.setdefault("check_every", CHECK_EVERY)
    return RLConfig(**settings)
