"""The reward model: an ensemble of small heads on [backbone features, prompt features].

A head sees image and prompt and their product, so that it can learn whether the one shows what the
other asks. Ratings are ordinal: one score, and a threshold between every two grades. What an expert
level weighs is the loss, never the label; a rater's severity is fitted as a shift of the thresholds
and left out of predictions.

Shapes: B images to predict, N rated images, R ratings, D image features, P prompt features,
K thresholds between K + 1 grades, M members of the ensemble.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from rewards.backbones import Backbone, load_backbone
from rewards.config import RewardConfig
from rewards.errors import RewardError
from rewards.folds import held_out_images, parts
from rewards.prompts import prompt_features
from rewards.quality import (
    Grades,
    Quality,
    Scores,
    auc,
    auc_top_or_bottom,
    calibration_error,
    mean_by_grade,
    spearman,
)
from rewards.ratings import Chosen, RatedImages

FORMAT = "curate-reward-1"
LEAST_SLOPE = 0.05  # of the calibration: a fit to noise must not turn scores upside down


class Heads(nn.Module):
    """All members of the ensemble side by side: image and prompt to margins, one row a member."""

    def __init__(
        self, dim: int, prompt_dim: int, num_thresholds: int, config: RewardConfig
    ) -> None:
        super().__init__()
        members, width = config.num_members, config.width
        self.image = _Linears(members, dim, width)
        self.prompt = _Linears(members, prompt_dim, width)
        self.joint = _Linears(members, 3 * width, width)
        self.out = _Linears(members, width, 1)
        self.steps = nn.Parameter(torch.full((members, 1, num_thresholds - 1), 0.5))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, features_MBD: Tensor, prompts_MBP: Tensor) -> Tensor:
        """Return margins [M, B, K]: each member's score minus its thresholds, ascending."""
        image = functional.gelu(self.image(self.dropout(features_MBD)))
        prompt = functional.gelu(self.prompt(prompts_MBP))
        both = self.dropout(torch.cat([image, prompt, image * prompt], dim=2))
        score_MB1: Tensor = self.out(functional.gelu(self.joint(both)))
        steps_M1K = functional.pad(functional.softplus(self.steps).cumsum(2), (1, 0))
        return score_MB1 - steps_M1K


class _Linears(nn.Module):
    """One linear layer a member."""

    def __init__(self, members: int, dim_in: int, dim_out: int) -> None:
        super().__init__()
        bound = dim_in**-0.5
        self.weight = nn.Parameter(torch.empty(members, dim_in, dim_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, dim_out))

    def forward(self, x_MBI: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x_MBI, self.weight)


def ordinal_loss(margin_RK: Tensor, grade_R: Tensor, weight_R: Tensor) -> Tensor:
    """Cross-entropy of "above threshold k" for every k, averaged by weight.

    `margin_RK` is score minus threshold. A worst rating pushes the score down, a best one up.
    """
    above_RK = (grade_R[:, None] > torch.arange(margin_RK.shape[1])).float()
    loss_RK = functional.binary_cross_entropy_with_logits(margin_RK, above_RK, reduction="none")
    return (loss_RK.mean(1) * weight_R).sum() / weight_R.sum()


class RewardModel(nn.Module):
    """Probability of the top rating, with the ensemble's spread. Fitted attributes end in `_`."""

    feature_mean_D: Tensor
    feature_std_D: Tensor
    calibration: Tensor  # slope and offset of the margin above the last threshold

    def __init__(self, backbone: Backbone, config: RewardConfig) -> None:
        super().__init__()
        self.backbone, self.config = backbone, config
        self.heads_: Heads | None = None
        self.register_buffer("feature_mean_D", torch.zeros(backbone.dim))
        self.register_buffer("feature_std_D", torch.ones(backbone.dim))
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))
        self.modalities_: tuple[str, ...] = ()
        self.values_: tuple[int, ...] = ()
        self.quality_: Quality | None = None
        self.held_out_by_ = ""  # "prompt" or "image"
        self.held_out_ratings_: tuple[int, ...] = ()  # their positions, for who fitted it

    def fit(self, rated: RatedImages) -> "RewardModel":
        """Fit to ratings; deterministic. RewardError when they are too few or of one kind.

        It is fitted twice: first without the held-out groups, to measure on them, then in the same
        way to all ratings, since a finding that no head has seen rated could not be scored.
        """
        _check_enough(rated, self.config)
        by, held_out_N = held_out_images(rated, self.config)
        self._fit_ensemble(rated, ~held_out_N)
        self.quality_ = self._measure(rated, held_out_N)
        self.held_out_by_ = by
        self.held_out_ratings_ = tuple(rated.of_images(held_out_N).tolist())
        self._fit_ensemble(rated, np.ones_like(held_out_N))
        return self

    def predict(
        self, images_B3HW: Tensor, modalities: Sequence[str], texts: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Return (mean [B], spread [B]) of the probability of the top rating, with gradients.

        The spread is the standard deviation over the ensemble. RewardError for a modality of which
        no image was rated.
        """
        return self.predict_features(self.backbone.features(images_B3HW), modalities, texts)

    def predict_features(
        self, features_BD: Tensor, modalities: Sequence[str], texts: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Like `predict`, from the backbone's features."""
        top_MB = self._above(features_BD, modalities, texts)[:, :, -1]
        return top_MB.mean(0), top_MB.std(0, unbiased=False)

    def predict_probabilities(
        self, images_B3HW: Tensor, modalities: Sequence[str], texts: Sequence[str]
    ) -> Tensor:
        """Return the calibrated probability of each rating value [B, K + 1], worst value first.

        Rows sum to 1; the last column is the mean of `predict`. The columns are `values_`.
        """
        features_BD = self.backbone.features(images_B3HW)
        above_BK = self._above(features_BD, modalities, texts).mean(0)
        certain_B1 = torch.ones_like(above_BK[:, :1])
        at_least = torch.cat([certain_B1, above_BK, torch.zeros_like(certain_B1)], dim=1)
        return at_least[:, :-1] - at_least[:, 1:]

    def _above(
        self, features_BD: Tensor, modalities: Sequence[str], texts: Sequence[str]
    ) -> Tensor:
        """Return every member's calibrated chance of a rating above each threshold [M, B, K]."""
        prompts_BP = self._prompts(modalities, texts).to(features_BD.device)
        slope, offset = self.calibration
        return torch.sigmoid(slope * self._margins(features_BD, prompts_BP) + offset)

    def train(self, mode: bool = True) -> "RewardModel":
        """Stay as fitted: dropout belongs to `fit`."""
        return self

    def save(self, path: Path) -> None:
        """Write heads, calibration and settings as safetensors; equal models give equal bytes."""
        tensors = {
            name: tensor.contiguous()
            for name, tensor in self.state_dict().items()
            if not name.startswith("backbone.")
        }
        save_file(tensors, path, metadata={"curate": json.dumps(self._settings(), sort_keys=True)})

    @classmethod
    def load(cls, path: Path, backbone: Backbone | None = None) -> "RewardModel":
        """Open what `save` wrote; RewardError when file or backbone is another."""
        try:
            with safe_open(path, framework="pt") as file:
                settings = json.loads((file.metadata() or {}).get("curate", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise RewardError(f"{path} is no reward model ({error}).") from error
        if settings.get("format") != FORMAT:
            raise RewardError(
                f"{path} is no reward model of this curate (format {settings.get('format')}, "
                f"needed {FORMAT}). Fit one with `curate train-reward`."
            )
        model = cls(
            backbone or load_backbone(settings["config"]["backbone"]),
            RewardConfig.from_json(settings["config"]),
        )
        model._restore(settings, tensors)
        return model

    def _settings(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "config": self.config.to_json(),
            "backbone": self.backbone.fingerprint,
            "modalities": list(self.modalities_),
            "values": list(self.values_),
            "quality": self.quality_.to_json() if self.quality_ else None,
            "held_out_by": self.held_out_by_,
        }

    def _restore(self, settings: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        if settings["backbone"] != self.backbone.fingerprint:
            raise RewardError(
                f"The reward model was fitted on backbone {self.config.backbone!r} with weights "
                f"{settings['backbone'][:12]}, but here they are {self.backbone.fingerprint[:12]}. "
                "Fit it again with `curate train-reward`."
            )
        self.modalities_ = tuple(settings["modalities"])
        self.values_ = tuple(settings["values"])
        self.held_out_by_ = settings["held_out_by"]
        self.quality_ = Quality(**settings["quality"]) if settings["quality"] else None
        self.heads_ = self._new_heads()
        missing, unexpected = self.load_state_dict(tensors, strict=False)
        if unexpected or not all(name.startswith("backbone.") for name in missing):
            raise RewardError("The reward model's tensors do not fit its settings. Fit it again.")
        self.heads_.eval().requires_grad_(False)

    def _fit_ensemble(self, rated: RatedImages, chosen_N: Chosen) -> None:
        """Fit every member without another part of the chosen images; calibrate on those parts."""
        self.modalities_ = tuple(sorted(set(rated.modalities)))
        self.values_ = tuple(rated.values)
        seen_ND = rated.features_ND[torch.from_numpy(chosen_N)]
        self.feature_mean_D = seen_ND.mean(0)
        self.feature_std_D = seen_ND.std(0).clamp(min=1e-6)
        prompts_NP = self._prompts(rated.modalities, rated.texts)
        part_N = parts(rated, chosen_N, self.config)
        members = range(self.config.num_members)
        own = [rated.of_images(chosen_N & (part_N != member)) for member in members]
        left_out = [rated.of_images(part_N == member) for member in members]
        self.heads_ = self._fitted_heads(rated, prompts_NP, own)
        margin_MN = self._margins(rated.features_ND, prompts_NP)[:, :, -1]
        self.calibration = _calibration(
            torch.cat([margin_MN[m, rated.image_R[left_out[m]]] for m in members]),
            rated.grade_R[torch.cat(left_out)] == len(self.values_) - 1,
        )

    def _fitted_heads(self, rated: RatedImages, prompts_NP: Tensor, own: Sequence[Tensor]) -> Heads:
        """Return heads of which each has learned from its own ratings (positions) only."""
        config, features_ND = self.config, self._standardised(rated.features_ND)
        names = sorted(set(rated.raters))
        rater_R = torch.tensor([names.index(rater) for rater in rated.raters])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            heads = self._new_heads().train()
            severity = nn.Parameter(torch.zeros(config.num_members, len(names)))
            optimizer = torch.optim.AdamW(
                [*heads.parameters(), severity],
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
            )
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.num_steps)
            for _ in range(config.num_steps):
                batch_MB = torch.stack(
                    [some[torch.randint(len(some), (config.batch_size,))] for some in own]
                )
                image_MB = rated.image_R[batch_MB]
                margin_MBK = heads(features_ND[image_MB], prompts_NP[image_MB])
                margin_MBK = margin_MBK - severity.gather(1, rater_R[batch_MB])[:, :, None]
                batch_R = batch_MB.flatten()
                loss = ordinal_loss(
                    margin_MBK.flatten(0, 1), rated.grade_R[batch_R], rated.weight_R[batch_R]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return heads.eval().requires_grad_(False)

    def _new_heads(self) -> Heads:
        prompt_dim = len(self.modalities_) + self.config.text_buckets
        return Heads(self.backbone.dim, prompt_dim, len(self.values_) - 1, self.config)

    def _standardised(self, features_BD: Tensor) -> Tensor:
        return (features_BD - self.feature_mean_D) / self.feature_std_D

    def _margins(self, features_BD: Tensor, prompts_BP: Tensor) -> Tensor:
        """Return every member's margin above each threshold [M, B, K]."""
        if self.heads_ is None:
            raise ValueError("a reward model predicts after fit() or load()")
        copies = (self.config.num_members, -1, -1)
        standardised_BD = self._standardised(features_BD)
        margin_MBK: Tensor = self.heads_(
            standardised_BD.expand(*copies), prompts_BP.expand(*copies)
        )
        return margin_MBK

    def _prompts(self, modalities: Sequence[str], texts: Sequence[str]) -> Tensor:
        unknown = set(modalities) - set(self.modalities_)
        if unknown:
            raise RewardError(
                f"No image of {', '.join(sorted(unknown))} was rated when this reward model was "
                f"fitted (rated: {', '.join(self.modalities_)}). Rate some, then "
                "`curate train-reward`."
            )
        pairs = list(zip(modalities, texts, strict=True))
        encoded = {
            pair: prompt_features(
                *pair, modalities=self.modalities_, buckets=self.config.text_buckets
            )
            for pair in set(pairs)
        }
        return torch.stack([encoded[pair] for pair in pairs])

    @torch.no_grad()
    def _measure(self, rated: RatedImages, held_out_N: Chosen) -> Quality:
        ratings = rated.of_images(held_out_N)
        images = torch.from_numpy(held_out_N).nonzero().flatten()
        place_R = torch.searchsorted(images, rated.image_R[ratings])
        features_BD = rated.features_ND[images]
        modalities = [rated.modalities[i] for i in images.tolist()]
        texts = [rated.texts[i] for i in images.tolist()]
        other = torch.from_numpy(np.random.default_rng(self.config.seed).permutation(len(images)))

        def scores(features_BD: Tensor, order: Tensor) -> Scores:
            asked = order.tolist()
            mean_B, _ = self.predict_features(
                features_BD, [modalities[i] for i in asked], [texts[i] for i in asked]
            )
            found: Scores = mean_B[place_R].double().numpy()
            return found

        same = torch.arange(len(images))
        return _quality(
            scores(features_BD, same),
            rated.grade_R[ratings].numpy(),
            values=rated.values,
            num_images=len(images),
            images_shuffled=scores(features_BD[other], same),
            prompts_shuffled=scores(features_BD, other),
        )


def _quality(
    scores_R: Scores,
    grade_R: Grades,
    *,
    values: Sequence[int],
    num_images: int,
    images_shuffled: Scores,
    prompts_shuffled: Scores,
) -> Quality:
    is_top_R = grade_R == len(values) - 1
    means = mean_by_grade(scores_R, grade_R)
    return Quality(
        num_ratings=len(scores_R),
        num_images=num_images,
        auc_top_or_bottom=auc_top_or_bottom(scores_R, grade_R, len(values) - 1),
        auc_top_or_rest=auc(scores_R, is_top_R),
        spearman=spearman(scores_R, grade_R),
        mean_by_value={str(values[grade]): mean for grade, mean in means.items()},
        ece=calibration_error(scores_R, is_top_R),
        auc_images_shuffled=auc(images_shuffled, is_top_R),
        auc_prompts_shuffled=auc(prompts_shuffled, is_top_R),
    )


def _calibration(margin_R: Tensor, is_top_R: Tensor) -> Tensor:
    """Return slope and offset that turn a head's margin into a probability (Platt 1999)."""
    fitted = LogisticRegression().fit(margin_R.double().numpy()[:, None], is_top_R.numpy())
    slope = max(float(fitted.coef_[0, 0]), LEAST_SLOPE)
    return torch.tensor([slope, float(fitted.intercept_[0])])


def _check_enough(rated: RatedImages, config: RewardConfig) -> None:
    num_ratings = len(rated.grade_R)
    num_top = int((rated.grade_R == len(rated.values) - 1).sum())
    if num_ratings < config.min_ratings:
        raise RewardError(
            f"{num_ratings} ratings, but a reward model needs {config.min_ratings}. Rate more "
            "images: `curate rate push` and `pull`, or `curate rate simulate`."
        )
    if min(num_top, num_ratings - num_top) < config.min_of_a_kind:
        raise RewardError(
            f"{num_top} of {num_ratings} ratings are the best grade ({rated.values[-1]}); at least "
            f"{config.min_of_a_kind} must be, and {config.min_of_a_kind} must not. Rate images of "
            "mixed quality: more of them, or other versions' or prompts'."
        )
