"""`window` and `ddpo`: the policy gradient of the sampler's random steps.

DDPO (Black et al. 2024) with DDIM's steps as actions. `ddpo` trains every step that is random;
`window` makes K neighbouring steps random and the others deterministic, which costs K backward
passes an image instead of S - 1 (Li et al. 2025, MixGRPO).
Shapes: B images, K trained steps, N = B x K pairs, image by image.
"""

import random
from dataclasses import dataclass, field

import torch
from torch import Tensor

from generators.base import Conditions, Process
from generators.diffusion.rollout import ETA, Rollout, log_prob, rollout
from generators.memory import lacks_memory
from generators.rl.algorithms.base import ExamplesLoss, Kept, UpdateBatch
from generators.rl.config import RLConfig
from generators.rl.loss import clipped_policy_loss, exact_kl, step_weights
from generators.rl.policy import Policy, rollout_settings


def window_of_update(config: RLConfig, update: int) -> range:
    """Return the random steps: at the configured place, or drawn within the noisier half."""
    start = config.window_start
    if start is None:
        last = max(0, config.num_steps // 2 - config.num_trained_steps)
        start = random.Random(f"{config.seed} window {update}").randint(0, last)
    return range(start, start + config.num_trained_steps)


def policy_gradient(policy: Policy, batch: UpdateBatch) -> "RandomSteps":
    """Make images whose window is random, and record its steps.

    Where the graphs of the random steps do not fit into memory after all, none are kept.
    """
    window = window_of_update(policy.config, batch.update)
    settings = rollout_settings(policy.config)
    of_batch = (policy.generator, batch.conditions_B, batch.seeds_B, settings, window)
    branches, made = policy.config.branches, None
    try:
        made = rollout(*of_batch, keep=policy.fit.kept_images, branches=branches)
    except RuntimeError as error:
        if not (lacks_memory(error) and policy.fit.kept_images):
            raise
    if made is None:  # out here the failed rollout's graphs are no longer held
        policy.make_do_with_less()
        made = rollout(*of_batch, branches=branches)
    return RandomSteps(made, batch.conditions_B, window.start)


@dataclass(frozen=True)
class RandomSteps:
    """Images with the random steps that led to them."""

    rollout: Rollout
    conditions_B: Conditions
    window_start: int

    @property
    def latents(self) -> Tensor:
        """Return the images' latents."""
        return self.rollout.latents

    def examples(self, policy: Policy, advantages_B: Tensor) -> "StepPairs":
        """Flatten the steps of all images into pairs; an image's steps share its advantage."""
        made, config, process = self.rollout, policy.config, policy.generator.process
        num_images, num_steps = made.log_probs_BK.shape
        device = made.latents.device
        weights_K = step_weights(process, made.timesteps_K, made.next_timesteps_K, eta=ETA)
        num_elements = made.latents[0].numel()
        pairs = StepPairs(
            x_t=made.x_t.flatten(0, 1),
            x_next=made.x_next.flatten(0, 1),
            t_N=made.timesteps_K.repeat(num_images),
            t_next_N=made.next_timesteps_K.repeat(num_images),
            conditions=self.conditions_B.select(
                torch.arange(num_images).repeat_interleave(num_steps)
            ).to(device),
            advantages_N=advantages_B.repeat_interleave(num_steps).to(device),
            weights_N=weights_K.repeat(num_images).to(device),
            rollout_log_probs_N=made.log_probs_BK.flatten(),
            process=process,
            guidance=config.training_guidance,
            clip=config.clip_sum / num_elements,
            scale=num_elements,
            kept=[
                Kept(torch.tensor(one.images) * num_steps + one.step, one.prediction)
                for one in made.kept
            ],
        )
        made.kept.clear()  # the pairs have them: a graph must have one owner to be let go
        if config.minibatches > 1:  # later ones are seen first by weights that have moved
            pairs.remember(policy)
        return pairs


@dataclass(frozen=True)
class StepPairs:
    """Recorded (image, step) pairs with what each is worth; every tensor has N rows."""

    x_t: Tensor
    x_next: Tensor
    t_N: Tensor
    t_next_N: Tensor
    conditions: Conditions
    advantages_N: Tensor
    weights_N: Tensor
    rollout_log_probs_N: Tensor
    process: Process
    guidance: float
    clip: float
    together: int = field(default=1, init=False)
    scale: float  # D: per image, not per latent element, else Adam's epsilon would swallow it
    kept: list[Kept] = field(default_factory=list)
    log_probs_N: Tensor = field(init=False)  # of the first training pass; NaN before it

    def __post_init__(self) -> None:
        """Know no log-probabilities of a training pass yet."""
        unknown_N = torch.full_like(self.rollout_log_probs_N, float("nan"))
        object.__setattr__(self, "log_probs_N", unknown_N)

    def remember(self, policy: Policy) -> None:
        """Note the log-probabilities of all pairs under the weights as they are."""
        prediction = policy.predictions(self.x_t, self.t_N, self.conditions, self.guidance)
        steps = (self.x_t, self.t_N, self.t_next_N, ETA)
        mean, std = self.process.step(prediction, *steps)
        self.log_probs_N[:] = log_prob(self.x_next, mean, std)

    def loss(self, prediction: Tensor, start: Tensor | None, rows: Tensor) -> ExamplesLoss:
        """Return PPO's clipped loss.

        The ratio's denominator is the first training pass itself, its gradient stopped: exactly 1
        on policy, whatever precision the rollout had.
        """
        x_t, x_next = self.x_t[rows], self.x_next[rows]
        steps = (self.t_N[rows], self.t_next_N[rows], ETA)
        mean, std = self.process.step(prediction, x_t, *steps)
        log_probs_N = log_prob(x_next, mean, std)
        if self.log_probs_N[rows].isnan().any():
            self.log_probs_N[rows] = log_probs_N.detach()
        of_rows = (self.log_probs_N[rows], self.advantages_N[rows], self.weights_N[rows])
        policy_loss = clipped_policy_loss(log_probs_N, *of_rows, clip=self.clip)
        kl = None
        if start is not None:
            start_mean, _ = self.process.step(start, x_t, *steps)
            kl = exact_kl(mean, start_mean, std)
        ratio_N = (self.log_probs_N[rows] - self.rollout_log_probs_N[rows]).exp()
        return ExamplesLoss(
            loss=policy_loss.loss,
            clipped_fraction=policy_loss.clipped_fraction,
            kl=kl,
            ratio_deviation=(ratio_N - 1).abs().max().item(),
        )
