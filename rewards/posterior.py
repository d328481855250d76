"""What the answers say of one criterion: the most probable quality, habits, and what stays unsure.

The latent quality of a pair is linear in its coordinates (`similarity.whitener`), which have a
standard normal prior: a Gaussian process, fitted by Laplace's approximation (Rasmussen and
Williams 2006, 3.4). Scale and quality are fitted together. Shapes: N pairs, L coordinates,
J raters, Q answers.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rewards.likelihood import Scale, comparison_log_likelihood, rating_log_likelihood
from rewards.ratings import Answers

MAX_STEPS = 80  # of L-BFGS; 30 to 60 are usual


@dataclass(frozen=True)
class Posterior:
    """The fitted criterion."""

    weights_L: Tensor  # float64; latent quality = coordinates @ weights
    unsure_LL: Tensor  # float64 U; variance of a latent = |U coordinates|^2
    scale: Scale
    log_evidence: float  # of these answers under the kernel; compares kernels


def fit_posterior(
    coordinates_NL: Tensor, answers: Answers, *, num_thresholds: int, num_raters: int
) -> Posterior:
    """Return the posterior of quality and habits; deterministic.

    `coordinates_NL` are float64, those of all images that `answers` speaks of.
    """
    scale = Scale.usual(num_thresholds, num_raters)
    weights_L = torch.zeros(coordinates_NL.shape[1], dtype=torch.float64)
    parameters = [parameter.requires_grad_() for parameter in [weights_L, *scale.parameters]]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=MAX_STEPS, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def surprise() -> Tensor:
        latent_N = coordinates_NL @ weights_L
        likely = rating_log_likelihood(latent_N[answers.image_R], answers, scale).sum()
        if len(answers.left_C):
            apart_C = latent_N[answers.left_C] - latent_N[answers.right_C]
            likely = likely + comparison_log_likelihood(apart_C, answers, scale).sum()
        return weights_L.square().sum() / 2 + scale.surprise() - likely

    def closure() -> float:
        optimizer.zero_grad()
        loss = surprise()
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    for parameter in parameters:
        parameter.requires_grad_(False)
    apart_CL = coordinates_NL[answers.left_C] - coordinates_NL[answers.right_C]
    seen_QL = torch.cat([coordinates_NL[answers.image_R], apart_CL])
    curvature_Q = _curvature(seen_QL @ weights_L, answers, scale)
    size = len(weights_L)
    precision_LL = torch.eye(size, dtype=torch.float64) + seen_QL.T @ (
        curvature_Q[:, None] * seen_QL
    )
    root_LL = torch.linalg.cholesky(precision_LL)
    unsure_LL = torch.linalg.solve_triangular(
        root_LL, torch.eye(size, dtype=torch.float64), upper=False
    )
    evidence = -float(surprise()) - float(root_LL.diagonal().log().sum())
    return Posterior(weights_L, unsure_LL, scale, evidence)


def _curvature(seen_Q: Tensor, answers: Answers, scale: Scale) -> Tensor:
    """Return minus the second derivative of each answer's log-likelihood; lapses can make it < 0:
    taken as 0, an answer that says nothing there."""
    with torch.enable_grad():
        seen_Q = seen_Q.detach().requires_grad_()
        latent_R, apart_C = seen_Q.split([len(answers.image_R), len(answers.left_C)])
        likely = rating_log_likelihood(latent_R, answers, scale).sum()
        likely = likely + comparison_log_likelihood(apart_C, answers, scale).sum()
        (slope_Q,) = torch.autograd.grad(likely, seen_Q, create_graph=True)
        (curve_Q,) = torch.autograd.grad(slope_Q.sum(), seen_Q)
    return (-curve_Q).clamp(min=0)


@dataclass(frozen=True)
class Calibration:
    """How much a latent quality counts, and where the grades part for a rater of this study."""

    slope: float
    thresholds: tuple[float, ...]  # in units of slope x latent, ascending


def above(mean_B: Tensor, variance_B: Tensor, calibration: Calibration) -> Tensor:
    """Return the chance of a grade above each threshold, at every node: [nodes, B, K].

    The nodes are points of the posterior of the latent; `NODE_WEIGHTS` weighs them.
    """
    thresholds_K = mean_B.new_tensor(calibration.thresholds)
    latent_MB = _at_nodes(mean_B, variance_B)
    return torch.sigmoid(calibration.slope * latent_MB[:, :, None] - thresholds_K)


def _at_nodes(mean_B: Tensor, variance_B: Tensor) -> Tensor:
    return mean_B + mean_B.new_tensor(NODES)[:, None] * (variance_B + 1e-12).sqrt()


def expected(chances_MBK: Tensor) -> Tensor:
    """Return the mean [B, K] over the posterior's nodes."""
    return torch.einsum("m,mbk->bk", chances_MBK.new_tensor(NODE_WEIGHTS), chances_MBK)


def fit_calibration(
    mean_R: Tensor, variance_R: Tensor, grade_R: Tensor, num_thresholds: int
) -> Calibration:
    """Return what makes held-out ratings most probable, float64; mild priors keep few from ruling.

    `mean_R` and `variance_R` are the latent of each rating's image by a fit that never saw it.
    """
    log_slope = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    share_K = [
        float((grade_R > k).double().sum() + 1) / (len(grade_R) + 2) for k in range(num_thresholds)
    ]
    first = torch.tensor([-math.log(share_K[0] / (1 - share_K[0]))], dtype=torch.float64)
    first.requires_grad_()
    log_steps = torch.zeros(num_thresholds - 1, dtype=torch.float64, requires_grad=True)
    parameters = [log_slope, first, log_steps]
    optimizer = torch.optim.LBFGS(parameters, max_iter=50, line_search_fn="strong_wolfe")
    latent_MR = _at_nodes(mean_R, variance_R)
    above_RK = (grade_R[:, None] > torch.arange(num_thresholds)).double()

    def closure() -> float:
        optimizer.zero_grad()
        thresholds_K = torch.cat([first, first + log_steps.exp().cumsum(0)])
        margin_MRK = log_slope.exp() * latent_MR[:, :, None] - thresholds_K
        chance_RK = expected(torch.sigmoid(margin_MRK)).clamp(1e-6, 1 - 1e-6)
        loss = torch.nn.functional.binary_cross_entropy(chance_RK, above_RK, reduction="sum")
        loss = loss + log_slope.square().sum() * 2 + (log_steps - 0.7).square().sum() / 2
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    thresholds_K = torch.cat([first, first + log_steps.exp().cumsum(0)]).detach()
    return Calibration(float(log_slope.detach().exp()), tuple(thresholds_K.tolist()))


# Gauss-Hermite nodes and weights of a standard normal, 7 points (Abramowitz and Stegun 25.4.46).
NODES = (
    -3.750439717725742,
    -2.366759410734541,
    -1.154405394739968,
    0.0,
    1.154405394739968,
    2.366759410734541,
    3.750439717725742,
)
NODE_WEIGHTS = (
    0.000548268855972218,
    0.0307571239675865,
    0.240123178605013,
    0.457142857142857,
    0.240123178605013,
    0.0307571239675865,
    0.000548268855972218,
)
