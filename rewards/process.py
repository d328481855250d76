"""Latent quality of images with their prompts, as a Gaussian process fitted to people's answers.

Shapes: B images to predict, N rated images, L landmarks (rated images that new ones are compared
with), S landmarks and references, D image features, P prompt features, C criteria, M modalities, T
texts that enough images were asked for by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rewards.conditioning import ConditioningCode
from rewards.likelihood import Scale
from rewards.posterior import fit_posterior
from rewards.ratings import Answers
from rewards.similarity import Kernel, whitener

RIDGE = 0.03  # of the recognisers, in likenesses of an image to itself
MIN_IMAGES_A_TEXT, MAX_TEXTS = 4, 200  # of fewer images nothing is known; of more, time
ALIKE = 1e-4  # two texts whose features differ by less are one


@dataclass(frozen=True)
class Pairs:
    """Images with their prompts."""

    features_ND: Tensor
    prompts_NP: Tensor
    given_NG: Tensor | None = None  # what the prompts give beside their words, if any gives some

    def chosen(self, positions: Tensor, prompts: Tensor | None = None) -> "Pairs":
        """Return some of them, or some images with the prompts of others."""
        asked = positions if prompts is None else prompts
        given_NG = None if self.given_NG is None else self.given_NG[asked]
        return Pairs(self.features_ND[positions], self.prompts_NP[asked], given_NG)

    def joined(self, others: "Pairs") -> "Pairs":
        """Return these, then the others: images and words."""
        return Pairs(
            torch.cat([self.features_ND, others.features_ND]),
            torch.cat([self.prompts_NP, others.prompts_NP]),
        )


class Process(nn.Module):
    """What is saved of a fit: landmarks, coordinates and the posterior of every criterion."""

    feature_mean_D: Tensor
    feature_std_D: Tensor
    landmarks_SD: Tensor  # the L landmarks, then the references
    landmark_prompts_LP: Tensor
    landmark_given_LG: Tensor  # only where any rated image was given something beside words
    whitener_LL: Tensor
    modality_SM: Tensor  # likeness to them -> 1 for the modality an image shows, else 0
    text_ST: Tensor  # ... for the text
    text_prompts_TP: Tensor
    weights_CL: Tensor
    unsure_CLL: Tensor

    def __init__(
        self, kernel: Kernel, tensors: Mapping[str, Tensor], code: ConditioningCode | None = None
    ) -> None:
        super().__init__()
        self.kernel, self.code = kernel, code
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.float().contiguous())

    def latent(self, pairs: Pairs, congruence: "Congruence") -> tuple[Tensor, Tensor]:
        """Return mean [C, B] and variance [C, B] of the latent quality, with gradients."""
        prompts_BP = pairs.prompts_NP
        standard_BD = (pairs.features_ND - self.feature_mean_D) / self.feature_std_D
        likeness_BS = self.kernel.images(standard_BD, self.landmarks_SD)
        likeness_BL = likeness_BS[:, : len(self.landmark_prompts_LP)]
        pairs_BL = self._to_landmarks(likeness_BL, pairs)
        coordinates_BL = pairs_BL @ self.whitener_LL.T
        novel_B = (self.kernel.variance - coordinates_BL.square().sum(1)).clamp(min=0)
        unsure_CBL = torch.einsum("bl,ckl->cbk", coordinates_BL, self.unsure_CLL)
        mean_CB = self.weights_CL @ coordinates_BL.T
        count = self.kernel.num_modalities
        modality_BM = prompts_BP[:, :count]
        text_BT, of_modality_BT = _asked_text(prompts_BP, self.text_prompts_TP, count)
        modality_B = _missed(likeness_BS @ self.modality_SM, modality_BM, 1 - modality_BM)
        text_B = _missed(likeness_BS @ self.text_ST, text_BT, of_modality_BT - text_BT)
        lost_B = congruence.modality * modality_B + congruence.text * text_B
        return mean_CB - lost_B, novel_B + unsure_CBL.square().sum(2)

    def covariance(self, pairs: Pairs) -> Tensor:
        """Return the covariance [C, B, B] of the latent quality of these images, float64."""
        standard_BD = (pairs.features_ND - self.feature_mean_D) / self.feature_std_D
        marks_LD = self.landmarks_SD[: len(self.landmark_prompts_LP)]
        likeness_BL = self.kernel.images(standard_BD, marks_LD)
        pairs_BL = self._to_landmarks(likeness_BL, pairs)
        coordinates_BL = pairs_BL.double() @ self.whitener_LL.double().T
        likeness_BB = self.kernel.images(standard_BD, standard_BD)
        given_BB = alike(self.code, pairs.given_NG, pairs.given_NG)
        prompts_BP = pairs.prompts_NP
        before_BB = self.kernel.pairs(likeness_BB, prompts_BP, prompts_BP, given_BB).double()
        novel_BB = before_BB - coordinates_BL @ coordinates_BL.T
        unsure_CBL = torch.einsum("bl,ckl->cbk", coordinates_BL, self.unsure_CLL.double())
        return novel_BB + unsure_CBL @ unsure_CBL.transpose(1, 2)

    def _to_landmarks(self, likeness_BL: Tensor, pairs: Pairs) -> Tensor:
        given_BL = None
        if self.code is not None:
            given_BL = alike(self.code, pairs.given_NG, self.landmark_given_LG)
        return self.kernel.pairs(likeness_BL, pairs.prompts_NP, self.landmark_prompts_LP, given_BL)


def alike(
    code: ConditioningCode | None, given_BG: Tensor | None, others_LG: Tensor | None
) -> Tensor | None:
    """Return how alike given things are [B, L]; None where nothing was ever given."""
    if code is None or given_BG is None or others_LG is None:
        return None
    return code.likeness(given_BG, others_LG)


@dataclass(frozen=True)
class Congruence:
    """What an image loses, in logits, that surely shows another modality or another text."""

    modality: float
    text: float


def _missed(found_BX: Tensor, asked_BX: Tensor, rivals_BX: Tensor) -> Tensor:
    """Return [B]: 0 where what was asked is found most, or nobody knows it; up to 1 where not."""
    if found_BX.shape[1] < 2:
        return torch.zeros_like(found_BX.sum(1))
    asked_B = (found_BX * asked_BX).sum(1)
    rival_B = found_BX.masked_fill(rivals_BX < 0.5, -1e3).amax(1)
    return (rival_B - asked_B).clamp(0, 1) * asked_BX.sum(1)


@dataclass(frozen=True)
class Fit:
    """A process with what it was found with."""

    process: Process
    scales: tuple[Scale, ...]  # of every criterion
    log_evidence: float


def fit_process(
    pairs: Pairs,
    learn_N: Tensor,
    answers: Sequence[Answers],
    kernel: Kernel,
    *,
    shows_N: Tensor,
    references: Pairs,
    num_thresholds: int,
    num_raters: int,
    landmarks: int,
    seed: int,
    code: ConditioningCode | None = None,
) -> Fit:
    """Fit every criterion to its `answers`, which speak of the images `learn_N` (positions) only.

    `shows_N` says which images show what their prompt asks for. They and the `references` teach to
    tell modalities and texts.
    """
    mean_D = pairs.features_ND[learn_N].mean(0)
    std_D = pairs.features_ND[learn_N].std(0).clamp(min=1e-6)
    known = replace(pairs, features_ND=(pairs.features_ND - mean_D) / std_D)
    place_L = learn_N
    if len(learn_N) > landmarks:
        chance = torch.Generator().manual_seed(seed)
        some = torch.randperm(len(learn_N), generator=chance)[:landmarks]
        place_L = learn_N[some.sort().values]
    marks = known.chosen(place_L)
    likeness_NL = kernel.images(known.features_ND, marks.features_ND)
    given_NL = alike(code, known.given_NG, marks.given_NG)
    pairs_NL = kernel.pairs(likeness_NL, known.prompts_NP, marks.prompts_NP, given_NL)
    whitener_LL = whitener(pairs_NL[place_L], kernel.variance)
    coordinates_NL = pairs_NL.double() @ whitener_LL.T
    found = [
        fit_posterior(coordinates_NL, each, num_thresholds=num_thresholds, num_raters=num_raters)
        for each in answers
    ]
    shown = Pairs((references.features_ND - mean_D) / std_D, references.prompts_NP)
    all_marks = marks.joined(shown)
    shows_S = torch.cat([shows_N[place_L], torch.ones(len(shown.prompts_NP), dtype=torch.bool)])
    texts_TP, num_T = all_marks.prompts_NP[shows_S].unique(dim=0, return_counts=True)
    common_T = num_T.argsort(descending=True, stable=True)[:MAX_TEXTS]
    texts_TP = texts_TP[common_T[num_T[common_T] >= MIN_IMAGES_A_TEXT]]
    recogniser_SX = _recogniser(kernel, all_marks, shows_S, texts_TP)
    tensors = {
        "feature_mean_D": mean_D,
        "feature_std_D": std_D,
        "landmarks_SD": all_marks.features_ND,
        "landmark_prompts_LP": marks.prompts_NP,
        "whitener_LL": whitener_LL,
        "modality_SM": recogniser_SX[:, : kernel.num_modalities],
        "text_ST": recogniser_SX[:, kernel.num_modalities :],
        "text_prompts_TP": texts_TP,
        "weights_CL": torch.stack([each.weights_L for each in found]),
        "unsure_CLL": torch.stack([each.unsure_LL for each in found]),
    }
    if marks.given_NG is not None:
        tensors["landmark_given_LG"] = marks.given_NG
    evidence = sum(each.log_evidence for each in found)
    return Fit(Process(kernel, tensors, code), tuple(each.scale for each in found), evidence)


def _asked_text(prompts_BP: Tensor, texts_TP: Tensor, num_modalities: int) -> tuple[Tensor, Tensor]:
    """Return which text is asked for [B, T], and which are of the modality asked for [B, T]."""
    same_BT = prompts_BP[:, :num_modalities] @ texts_TP[:, :num_modalities].T
    words_BT = prompts_BP[:, num_modalities:] @ texts_TP[:, num_modalities:].T
    return (same_BT * words_BT > 1 - ALIKE).float(), same_BT


def _recogniser(kernel: Kernel, marks: Pairs, shows_S: Tensor, texts_TP: Tensor) -> Tensor:
    """Return [S, M + T] by ridge regression from the marks that show what was asked."""
    count = kernel.num_modalities
    shown = marks.chosen(shows_S.nonzero().flatten())
    asked_ST, _ = _asked_text(shown.prompts_NP, texts_TP, count)
    asked_SX = torch.cat([shown.prompts_NP[:, :count], asked_ST], dim=1).double()
    among_SS = kernel.images(shown.features_ND, shown.features_ND).double()
    ridge_SS = among_SS + RIDGE * torch.eye(len(among_SS), dtype=torch.float64)
    weights_SX = torch.zeros(len(shows_S), asked_SX.shape[1], dtype=torch.float64)
    weights_SX[shows_S] = torch.linalg.solve(ridge_SS, asked_SX)
    return weights_SX
