"""How strict and how consistent raters are: the many-facet Rasch model, rating-scale form.

log P(grade k) / P(grade k - 1) = quality of the image - severity of the rater - step k, in logits
(Linacre 1989; Andrich 1978, Psychometrika 43:561). Image qualities are a normal population that is
integrated out (marginal maximum likelihood: Bock and Aitkin 1981, Psychometrika 46:443): estimating
each image's quality from two or three grades would inflate all severities. Weak normal priors make
it the mode of a posterior (Mislevy 1986, Psychometrika 51:177): raters who never contradict each
other would otherwise be infinitely many logits apart.
Shapes: N ratings, I images, R raters, V values in use, Q quadrature nodes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from annotation.agreement.table import GradeTable

NODES = 41  # of the Gauss-Hermite rule
MIN_RATINGS = 20
LOGITS_SD = 5.0  # prior of severities and steps
LOG_SPREAD_SD = 1.0  # prior of the log spread: two in three between 0.4 and 2.7 logits


@dataclass(frozen=True)
class RaterMeasure:
    """One rater on the model's ruler."""

    rater: str
    severity: float  # logits; 0 = the average of these raters, above = stricter
    severity_se: float
    fair_mean: float  # the mean grade that it would give to all images, in values of the scale
    infit: float  # 1 = as noisy as the model expects; 1.5 = half as noisy again; 0.5 = too tidy


@dataclass(frozen=True)
class RaschFit:
    """The fitted model."""

    raters: tuple[RaterMeasure, ...]
    steps: tuple[float, ...]  # logits; between the values in use
    spread: float  # standard deviation of image quality, logits
    num_ratings: int
    is_connected: bool  # images in common tie all raters together
    left_out: tuple[str, ...]  # raters who gave one value only: their severity has no bound


@dataclass(frozen=True)
class NoFit:
    """Why there is no model."""

    reason: str


@dataclass(frozen=True)
class _Data:
    raters: tuple[str, ...]
    values: tuple[int, ...]  # in use
    image_N: Tensor
    rater_N: Tensor
    grade_N: Tensor  # places in `values`
    num_images: int


def fit_rasch(table: GradeTable) -> RaschFit | NoFit:
    """Fit the model to the first looks, or say why that cannot be."""
    data, constant = _varied_grades(table)
    if len(data.raters) < 2:
        return NoFit(
            "severity needs two raters who use more than one value; "
            f"there {'is' if len(data.raters) == 1 else 'are'} {len(data.raters)}"
        )
    if len(data.grade_N) < MIN_RATINGS:
        return NoFit(f"severity needs {MIN_RATINGS} ratings; there are {len(data.grade_N)}")

    def loss(flat: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[float, object]:
        free = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
        value = -_log_posterior(free, data)
        (gradient,) = torch.autograd.grad(value, free)
        return float(value.detach()), gradient.numpy()

    start = np.zeros(len(data.raters) - 1 + len(data.values) - 1 + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    best = torch.tensor(found.x, dtype=torch.float64)
    # the observed information; where it is not positive, the ratings leave something open
    hessian = torch.autograd.functional.hessian(lambda free: -_log_posterior(free, data), best)
    assert isinstance(hessian, Tensor)
    if not bool((torch.linalg.eigvalsh(hessian) > 1e-8).all()):
        return NoFit("the ratings do not determine the severities; more images in common would")
    _, step_V, spread = _unpack(best, data)
    # can one walk from any rater to any other over images in common?
    num = len(data.raters) + data.num_images
    ends = (data.rater_N.numpy(), len(data.raters) + data.image_N.numpy())
    graph = coo_array((np.ones(len(data.rater_N)), ends), shape=(num, num))
    return RaschFit(
        raters=_measures(best, torch.linalg.inv(hessian), data),
        steps=tuple(step_V[1:].tolist()),
        spread=float(spread),
        num_ratings=len(data.grade_N),
        is_connected=bool(connected_components(graph, directed=False)[0] == 1),
        left_out=constant,
    )


def _varied_grades(table: GradeTable) -> tuple[_Data, tuple[str, ...]]:
    """Return what is fitted, and the raters of one value only, who are left out.

    So are values that nobody used: their steps have no bound.
    """
    grades_IR, rated_IR = table.grades_IR, table.rated_IR
    is_varied = [len(np.unique(grades_IR[rated_IR[:, r], r])) > 1 for r in range(len(table.raters))]
    kept_IR = grades_IR[:, is_varied]
    image_N, rater_N = np.nonzero(~np.isnan(kept_IR))
    values, grade_N = np.unique(kept_IR[image_N, rater_N], return_inverse=True)
    images, image_N = np.unique(image_N, return_inverse=True)
    raters = list(zip(table.raters, is_varied, strict=True))
    data = _Data(
        raters=tuple(rater for rater, varied in raters if varied),
        values=tuple(int(value) for value in values),
        image_N=torch.from_numpy(image_N),
        rater_N=torch.from_numpy(rater_N),
        grade_N=torch.from_numpy(grade_N),
        num_images=len(images),
    )
    return data, tuple(rater for rater, varied in raters if not varied)


def _unpack(free: Tensor, data: _Data) -> tuple[Tensor, Tensor, Tensor]:
    """Return severities [R] that sum to 0, steps [V] (the first is 0), the images' spread."""
    num_free = len(data.raters) - 1
    severity_R = torch.cat([free[:num_free], -free[:num_free].sum(0, keepdim=True)])
    step_V = torch.cat([free.new_zeros(1), free[num_free:-1]])
    return severity_R, step_V, free[-1].exp()


def _log_probabilities(free: Tensor, data: _Data) -> tuple[Tensor, Tensor]:
    """Return log P(value | rater, node) [R, V, Q] and the nodes' log weights [Q]."""
    severity_R, step_V, spread = _unpack(free, data)
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    quality_Q = spread * torch.from_numpy(nodes)
    grade_V = torch.arange(len(data.values), dtype=torch.float64)
    gap_RQ = quality_Q[None] - severity_R[:, None]
    logit_RVQ = grade_V[None, :, None] * gap_RQ[:, None] - step_V.cumsum(0)[None, :, None]
    log_weight_Q = torch.from_numpy(np.log(weights / weights.sum()))
    return logit_RVQ.log_softmax(1), log_weight_Q


def _log_joint(free: Tensor, data: _Data) -> Tensor:
    """Return log P(an image's grades and the node) [I, Q]."""
    log_p_RVQ, log_weight_Q = _log_probabilities(free, data)
    log_p_NQ = log_p_RVQ[data.rater_N, data.grade_N]
    start_IQ = log_weight_Q.expand(data.num_images, NODES)
    return start_IQ.index_add(0, data.image_N, log_p_NQ)


def _log_posterior(free: Tensor, data: _Data) -> Tensor:
    """Return log P(all grades | free) + log P(free), up to a constant."""
    severity_R, step_V, spread = _unpack(free, data)
    logits = torch.cat([severity_R, step_V])
    log_prior = -0.5 * ((logits / LOGITS_SD).square().sum() + (spread.log() / LOG_SPREAD_SD) ** 2)
    return _log_joint(free, data).logsumexp(1).sum() + log_prior


def _measures(best: Tensor, covariance: Tensor, data: _Data) -> tuple[RaterMeasure, ...]:
    """Return each rater's severity with its error, fair mean and infit.

    Infit: squared residuals over their variance, both averaged over what is known of each image. So
    averaged it is 1 in expectation under the model, however few grades an image has.
    """
    num_raters = len(data.raters)
    severity_R, _, _ = _unpack(best, data)
    # the last severity is minus the sum of the others
    to_all = torch.cat([torch.eye(num_raters - 1), -torch.ones(1, num_raters - 1)]).to(covariance)
    of_free = covariance[: num_raters - 1, : num_raters - 1]
    error_R = (to_all @ of_free @ to_all.T).diagonal().sqrt()

    log_p_RVQ, log_weight_Q = _log_probabilities(best, data)
    p_RVQ = log_p_RVQ.exp()
    fair_R = (p_RVQ * log_weight_Q.exp()).sum(2) @ torch.tensor(data.values, dtype=torch.float64)

    belief_NQ = _log_joint(best, data).softmax(1)[data.image_N]
    grade_V = torch.arange(len(data.values), dtype=torch.float64)
    mean_RQ = (p_RVQ * grade_V[None, :, None]).sum(1)
    variance_RQ = (p_RVQ * grade_V[None, :, None] ** 2).sum(1) - mean_RQ**2
    residual_NQ = (data.grade_N[:, None] - mean_RQ[data.rater_N]) ** 2
    found_N = (belief_NQ * residual_NQ).sum(1)
    expected_N = (belief_NQ * variance_RQ[data.rater_N]).sum(1)
    return tuple(
        RaterMeasure(
            rater=name,
            severity=float(severity_R[place]),
            severity_se=float(error_R[place]),
            fair_mean=float(fair_R[place]),
            infit=float(
                found_N[data.rater_N == place].sum() / expected_N[data.rater_N == place].sum()
            ),
        )
        for place, name in enumerate(data.raters)
    )
