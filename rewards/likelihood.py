"""How probable people's answers are, given how good the images are and what habits people have.

A rating is a cumulative-link one: a rater who is `severe` puts every threshold higher, one whose
`reliability` is low parts the grades less sharply, and a share of answers, the `lapses`, is random.
A comparison is Bradley-Terry's (1952): the difference of two images decides, a tie is half a win
for each. All of it is float64. Shapes: R ratings, C comparisons, K thresholds, J raters.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rewards.ratings import Answers

# Priors: what a rater whose answers are few is taken for. In logits of the latent quality.
SEVERITY_SD = 1.0
LOG_RELIABILITY_SD = 0.35
USUAL_LAPSE, LAPSE_LOGIT_SD = 0.05, 1.0
LEAST_LAPSE, MOST_LAPSE = 0.005, 0.6  # nobody is certain: no answer has probability 0
THRESHOLD_SD, LOG_STEP_SD = 4.0, 1.0
FIRST_STEP = 2.0  # logits between two thresholds, before anything is known


@dataclass(frozen=True)
class Scale:
    """Thresholds between the grades, and each rater's habits; unbounded, to be fitted."""

    first: Tensor  # [1] lowest threshold
    log_steps: Tensor  # [K - 1] from each threshold to the next
    severity_J: Tensor
    log_reliability_J: Tensor
    lapse_logit_J: Tensor  # relative to the usual lapse

    @classmethod
    def usual(cls, num_thresholds: int, num_raters: int) -> "Scale":
        """Return what is believed before any answer."""
        zeros_J = [torch.zeros(num_raters, dtype=torch.float64) for _ in range(3)]
        steps = torch.zeros(num_thresholds - 1, dtype=torch.float64)
        return cls(torch.zeros(1, dtype=torch.float64), steps, *zeros_J)

    @property
    def parameters(self) -> list[Tensor]:
        """All five."""
        habits = [self.severity_J, self.log_reliability_J, self.lapse_logit_J]
        return [self.first, self.log_steps, *habits]

    @property
    def thresholds_K(self) -> Tensor:
        """The thresholds of a rater without severity, ascending."""
        steps = FIRST_STEP * self.log_steps.exp()
        return torch.cat([self.first, self.first + steps.cumsum(0)])

    @property
    def reliability_J(self) -> Tensor:
        """How sharply each rater parts the grades; 1 on (geometric) average.

        Were the average free, reliability could grow and quality shrink for ever.
        """
        return (self.log_reliability_J - self.log_reliability_J.mean()).exp()

    @property
    def lapse_J(self) -> Tensor:
        """Share of each rater's answers that is random."""
        share = (USUAL_LAPSE - LEAST_LAPSE) / (MOST_LAPSE - LEAST_LAPSE)
        usual = torch.logit(torch.tensor(share, dtype=torch.float64))
        return LEAST_LAPSE + (MOST_LAPSE - LEAST_LAPSE) * torch.sigmoid(self.lapse_logit_J + usual)

    def surprise(self) -> Tensor:
        """Return minus the log of the priors, up to a constant."""
        parts = (
            self.first / THRESHOLD_SD,
            self.log_steps / LOG_STEP_SD,
            self.severity_J / SEVERITY_SD,
            self.log_reliability_J / LOG_RELIABILITY_SD,
            self.lapse_logit_J / LAPSE_LOGIT_SD,
        )
        return torch.stack([part.square().sum() for part in parts]).sum() / 2


def rating_log_likelihood(latent_R: Tensor, answers: Answers, scale: Scale) -> Tensor:
    """Return the log-probability of each rating [R], times its weight."""
    reliability_R = scale.reliability_J[answers.rater_R]
    lapse_R = scale.lapse_J[answers.rater_R]
    strict_R = latent_R - scale.severity_J[answers.rater_R]
    margin_RK = reliability_R[:, None] * (strict_R[:, None] - scale.thresholds_K)
    grade_RG = grade_probabilities(torch.sigmoid(margin_RK))
    seen_R = grade_RG.gather(1, answers.grade_R[:, None])[:, 0]
    mixed_R = (1 - lapse_R) * seen_R + lapse_R / grade_RG.shape[1]
    return answers.weight_R * mixed_R.log()


def comparison_log_likelihood(difference_C: Tensor, answers: Answers, scale: Scale) -> Tensor:
    """Return the log-probability of each comparison [C], times its weight.

    `difference_C` is how much better the left image is.
    """
    reliability_C = scale.reliability_J[answers.rater_C]
    lapse_C = scale.lapse_J[answers.rater_C]
    left_C = (1 - lapse_C) * torch.sigmoid(reliability_C * difference_C) + lapse_C / 2
    won_C = answers.preference_C
    return answers.weight_C * (won_C * left_C.log() + (1 - won_C) * (1 - left_C).log())


def grade_probabilities(above_BK: Tensor) -> Tensor:
    """Turn the chances of a grade above each threshold into one of each grade [B, K + 1]."""
    certain = torch.ones_like(above_BK[..., :1])
    at_least = torch.cat([certain, above_BK, torch.zeros_like(certain)], dim=-1)
    return at_least[..., :-1] - at_least[..., 1:]
