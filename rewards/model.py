"""The reward model: image and prompt to the chance of the best rating, and how sure that is.

People's answers are explained by a latent quality and by their own habits (`likelihood`); the
quality is a Gaussian process over backbone features and prompts (`process`), so that an image
unlike every rated one is scored near what its modality usually gets, with a large spread. An image
that shows another modality than was asked for loses score by construction, whether or not anybody
rated such a one. With several criteria an image is as good as its weakest. What an expert level
weighs is the loss, never the label.

Shapes: B images to predict, N rated images, C criteria, D image features, P prompt features,
K thresholds between K + 1 rating values.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rewards.backbones import Backbone, load_backbone
from rewards.check import check_enough, what_to_know
from rewards.conditioning import Conditioning, ConditioningCode, ConditioningFeatures, looked_at
from rewards.config import RewardConfig
from rewards.errors import RewardError
from rewards.folds import kind_of_groups, parts
from rewards.informative import Joint, before_any_rating
from rewards.likelihood import grade_probabilities
from rewards.posterior import Calibration, above, expected
from rewards.process import Congruence, Fit, Pairs, Process, fit_process
from rewards.prompts import prompt_features
from rewards.quality import Quality
from rewards.raters import RaterHabits, habits_of
from rewards.ratings import RatedImages
from rewards.similarity import Kernel
from rewards.validation import (
    HeldOut,
    calibrations,
    cross_fit,
    promised,
    quality_of,
    short_figures,
)

FORMAT = "curate-reward-3"
# Of which the evidence chooses, one after the other, each beginning with what is usual.
KERNELS: dict[str, tuple[float, float]] = {
    "reach": (1.4, 0.7),
    "scale": (2.0, 4.0),
    "text": (0.2, 1.5),
}
SHARES = (0.25, 0.5)  # of the images: points of the learning curve before the last, all of them
PROCESS = "process_."  # what the names of its tensors begin with
CODE = ("process_.code.mean_RD", "process_.code.std_RD")

Tell = Callable[[int], None]  # is told of so many fits that are done


@dataclass(frozen=True)
class _Encoded:
    """What a model is fitted to, prompts as numbers."""

    rated: RatedImages
    pairs: Pairs  # the rated images
    references: Pairs
    tell: Tell


def _usual_kernel(num_modalities: int) -> Kernel:
    usual = {name: values[0] for name, values in KERNELS.items()}
    return Kernel(num_modalities=num_modalities, **usual)


def joint_before_any_rating(
    features_BD: Tensor, modalities: Sequence[str], texts: Sequence[str], config: RewardConfig
) -> Joint:
    """Return what `RewardModel.joint` says when nothing was rated yet."""
    known = sorted(set(modalities))
    encode = partial(prompt_features, modalities=known, buckets=config.text_buckets)
    prompts_BP = torch.stack([encode(*pair) for pair in zip(modalities, texts, strict=True)])
    return before_any_rating(features_BD, prompts_BP, _usual_kernel(len(known)))


class RewardModel(nn.Module):
    """Chance of the top rating, with its spread. Fitted attributes end in `_`."""

    def __init__(self, backbone: Backbone, config: RewardConfig) -> None:
        super().__init__()
        self.backbone, self.config = backbone, config
        self.process_: Process | None = None
        self.code_: ConditioningCode | None = None  # where rated images were given more than words
        self.calibration_: tuple[Calibration, ...] = ()  # one a criterion
        self.modalities_: tuple[str, ...] = ()
        self.values_: tuple[int, ...] = ()
        self.criteria_: tuple[str, ...] = ()
        self.raters_: tuple[RaterHabits, ...] = ()
        self.notes_: tuple[str, ...] = ()  # what its user should know of the ratings
        self.quality_: Quality | None = None
        self.held_out_by_ = ""  # "prompt" or "image"

    def num_fits(self, rated: RatedImages) -> int:
        """Return how many fits `fit` takes, measured: one a kernel, and one a held-out part."""
        rounds = 1 + len(SHARES) + (kind_of_groups(rated) == "prompt")  # of the cross-validation
        return 1 + len(KERNELS) + rounds * self.config.num_parts

    def fit(
        self, rated: RatedImages, *, measured: bool = True, tell: Tell = lambda num_fits: None
    ) -> "RewardModel":
        """Fit to ratings and comparisons; deterministic. RewardError when they do not do.

        Quality and calibration are cross-validated. For the quality whole prompts and patients are
        left out in turn; the calibration is that of new images of known prompts, which is what is
        scored most. The model itself then learns from everything, since a finding that it has never
        seen rated could not be scored. Not `measured`, it predicts the same after a third of the
        time, and `quality_` stays None. `tell(1)` is called after each fit of `num_fits`.
        """
        check_enough(rated, self.config)
        self.modalities_ = tuple(sorted(set(rated.modalities)))
        self.values_ = tuple(rated.values)
        self.criteria_ = tuple(rated.criteria)
        self.code_ = ConditioningCode.learned(rated.given)
        encoded = replace(self._encoded(rated), tell=tell)
        everything = torch.arange(len(encoded.rated.prompts))
        best = self._fit(encoded, everything, _usual_kernel(len(self.modalities_)))
        for name, (_, value) in KERNELS.items():
            other = Kernel(**{**vars(best.process.kernel), name: value})
            tried = self._fit(encoded, everything, other)
            best = max(best, tried, key=lambda fit: fit.log_evidence)
        self.process_ = best.process
        known = self._cross_fit(encoded, by="image")
        self.calibration_ = calibrations(known.asked, rated)
        if measured:
            self._measure(encoded, known)
        self.raters_ = habits_of(rated, best.scales)
        self.notes_ = what_to_know(rated)
        return self

    def predict(
        self,
        images_B3HW: Tensor,
        modalities: Sequence[str],
        texts: Sequence[str],
        given: Sequence[Conditioning] = (),
    ) -> tuple[Tensor, Tensor]:
        """Return (mean [B], spread [B]) of the probability of the top rating, with gradients.

        The spread is the standard deviation over what the ratings leave possible. Images are
        [B, 3, H, W], or slices of volumes [B, S, 3, H, W]. RewardError for a modality of which no
        image was rated.
        """
        features_BD = self.backbone.features(images_B3HW)
        return self.predict_features(
            features_BD, modalities, texts, self.features_of_given(images_B3HW, given)
        )

    def features_of_given(
        self, images_B3HW: Tensor, given: Sequence[Conditioning]
    ) -> list[ConditioningFeatures]:
        """Return the backbone's features of what was given, as far as the ratings knew such."""
        roles = () if self.code_ is None else self.code_.roles
        found = []
        for image, each in zip(images_B3HW, given, strict=False):
            shown = {
                role: looked_at(role, each.images[role].to(image), image)
                for role in roles
                if role in each.images
            }
            features = {role: self.backbone.features(s[None])[0] for role, s in shown.items()}
            found.append(ConditioningFeatures(features, each.record))
        return found

    def predict_features(
        self,
        features_BD: Tensor,
        modalities: Sequence[str],
        texts: Sequence[str],
        given: Sequence[ConditioningFeatures] = (),
    ) -> tuple[Tensor, Tensor]:
        """Like `predict`, from the backbone's features."""
        chances_CMBK = self._chances(features_BD, modalities, texts, given)
        means_CB = torch.stack([expected(each)[:, -1] for each in chances_CMBK])
        squares_CB = torch.stack([expected(each.square())[:, -1] for each in chances_CMBK])
        spreads_CB = (squares_CB - means_CB.square()).clamp(min=1e-12).sqrt()
        weakest_1B = means_CB.argmin(0, keepdim=True)
        return means_CB.gather(0, weakest_1B)[0], spreads_CB.gather(0, weakest_1B)[0]

    def predict_probabilities(
        self, images_B3HW: Tensor, modalities: Sequence[str], texts: Sequence[str]
    ) -> Tensor:
        """Return the calibrated probability of each rating value [B, K + 1], worst value first.

        Rows sum to 1; the last column is the mean of `predict`. The columns are `values_`.
        """
        features_BD = self.backbone.features(images_B3HW)
        chances_CMBK = self._chances(features_BD, modalities, texts)
        above_BK = torch.stack([expected(each) for each in chances_CMBK]).amin(0)
        return grade_probabilities(above_BK)

    @torch.no_grad()
    def joint(
        self,
        features_BD: Tensor,
        modalities: Sequence[str],
        texts: Sequence[str],
        given: Sequence[ConditioningFeatures] = (),
    ) -> list[Joint]:
        """Return what is known of these images together, a criterion each; memory grows as B^2."""
        if self.process_ is None:
            raise ValueError("a reward model predicts after fit() or load()")
        pairs = self._pairs(features_BD, modalities, texts, given)
        means_CB, _ = self.process_.latent(pairs, self._congruence)
        covariance_CBB = self.process_.covariance(pairs)
        return [
            Joint(*each)
            for each in zip(means_CB.double(), covariance_CBB, self.calibration_, strict=True)
        ]

    def train(self, mode: bool = True) -> "RewardModel":
        """Stay as fitted."""
        return self

    def save(self, path: Path) -> None:
        """Write what was fitted and the settings as safetensors; equal models give equal bytes."""
        tensors = {
            name: tensor.contiguous()
            for name, tensor in self.state_dict().items()
            if name.startswith(PROCESS)
        }
        assert self.process_ is not None  # only a fitted model is saved
        told = {"roles": self.code_.roles, "fields": self.code_.fields} if self.code_ else None
        save_file(
            tensors,
            path,
            metadata={
                "curate": json.dumps(
                    {
                        **({"given": told} if told else {}),
                        "format": FORMAT,
                        "config": self.config.to_json(),
                        "backbone": self.backbone.fingerprint,
                        "kernel": vars(self.process_.kernel),
                        "calibration": [vars(each) for each in self.calibration_],
                        "modalities": list(self.modalities_),
                        "values": list(self.values_),
                        "criteria": list(self.criteria_),
                        "raters": [vars(each) for each in self.raters_],
                        "notes": list(self.notes_),
                        "quality": self.quality_.to_json() if self.quality_ else None,
                        "held_out_by": self.held_out_by_,
                    },
                    sort_keys=True,
                )
            },
        )

    @classmethod
    def load(cls, path: Path, backbone: Backbone | None = None) -> "RewardModel":
        """Open what `save` wrote; RewardError when file or backbone is another."""
        try:
            with safe_open(path, framework="pt") as file:
                settings = json.loads((file.metadata() or {}).get("curate", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise RewardError(f"{path} is not a reward model ({error}).") from error
        if settings.get("format") != FORMAT:
            raise RewardError(
                f"{path} is not a reward model for this version of curate (format "
                f"{settings.get('format')}, needed {FORMAT}). Fit one with `curate train-reward`."
            )
        model = cls(
            backbone or load_backbone(settings["config"]["backbone"]),
            RewardConfig.from_json(settings["config"]),
        )
        if settings["backbone"] != model.backbone.fingerprint:
            raise RewardError(
                f"The reward model was fitted on backbone {model.config.backbone!r} with weights "
                f"{settings['backbone'][:12]}, but here they are "
                f"{model.backbone.fingerprint[:12]}. Fit it again with `curate train-reward`."
            )
        model.modalities_ = tuple(settings["modalities"])
        model.values_ = tuple(settings["values"])
        model.criteria_ = tuple(settings["criteria"])
        model.raters_ = tuple(RaterHabits(**each) for each in settings["raters"])
        model.notes_ = tuple(settings["notes"])
        model.held_out_by_ = settings["held_out_by"]
        model.calibration_ = tuple(
            Calibration(each["slope"], tuple(each["thresholds"]))
            for each in settings["calibration"]
        )
        model.quality_ = Quality(**settings["quality"]) if settings["quality"] else None
        own = {n.removeprefix(PROCESS): tensor for n, tensor in tensors.items()}
        if "given" in settings:
            scales = [own.pop(name.removeprefix(PROCESS)) for name in CODE]
            model.code_ = ConditioningCode(
                settings["given"]["roles"], settings["given"]["fields"], *scales
            )
        model.process_ = Process(Kernel(**settings["kernel"]), own, model.code_)
        return model

    def _encoded(self, rated: RatedImages) -> "_Encoded":
        pairs = self._pairs(rated.features_ND, rated.modalities, rated.texts, rated.given)
        known = rated.references.of_modalities(self.modalities_)
        prompts_SP = self._prompts(known.modalities, known.texts)
        features_SD = known.features_SD if known.texts else rated.features_ND[:0]
        return _Encoded(rated, pairs, Pairs(features_SD, prompts_SP), lambda num_fits: None)

    def _fit(self, encoded: "_Encoded", learn: Tensor, kernel: Kernel) -> Fit:
        """Fit to the images at the positions `learn` only."""
        rated = encoded.rated
        chosen_N = torch.zeros(len(rated.prompts), dtype=torch.bool)
        chosen_N[learn] = True
        raters = rated.all_raters()
        found = fit_process(
            encoded.pairs,
            learn,
            [rated.answers(c, chosen_N, raters) for c in range(len(self.criteria_))],
            kernel,
            shows_N=rated.not_the_worst(),
            references=encoded.references,
            num_thresholds=len(self.values_) - 1,
            num_raters=len(raters),
            landmarks=self.config.max_landmarks,
            seed=self.config.seed,
            code=self.code_,
        )
        encoded.tell(1)
        return found

    def _measure(self, encoded: "_Encoded", known: HeldOut) -> None:
        """Set the quality; `known` is what was held out of prompts that were learned from."""
        rated = encoded.rated
        self.held_out_by_ = kind_of_groups(rated)
        curve = []
        for share in (*SHARES, 1.0):
            held_out = known
            if self.held_out_by_ == "prompt" or share < 1:
                held_out = self._cross_fit(encoded, by=self.held_out_by_, share=share)
            said = promised(held_out, self.calibration_)
            num_images = share * len(rated.prompts) * (1 - 1 / self.config.num_parts)
            curve.append({"num_images": round(num_images), **short_figures(rated, said)})
        self.quality_ = quality_of(rated, said, promised(known, self.calibration_), curve)

    def _cross_fit(self, encoded: "_Encoded", *, by: str, share: float = 1.0) -> HeldOut:
        """Cross-validate with parts `by` prompt or image; only a `share` of the rest is learned."""
        assert self.process_ is not None
        kernel = self.process_.kernel

        def refit(learn: Tensor) -> Process:
            chance = torch.Generator().manual_seed(self.config.seed)
            some = torch.randperm(len(learn), generator=chance)[: round(share * len(learn))]
            return self._fit(encoded, learn[some.sort().values], kernel).process

        return cross_fit(
            encoded.pairs,
            parts(encoded.rated, self.config.num_parts, self.config.seed, by=by),
            refit,
            congruence=self._congruence,
            num_criteria=len(self.criteria_),
        )

    @property
    def _congruence(self) -> Congruence:
        return Congruence(self.config.modality_congruence, self.config.text_congruence)

    def _chances(
        self,
        features_BD: Tensor,
        modalities: Sequence[str],
        texts: Sequence[str],
        given: Sequence[ConditioningFeatures] = (),
    ) -> list[Tensor]:
        """Return a criterion's chances of a grade above each threshold, [nodes, B, K] each."""
        if self.process_ is None:
            raise ValueError("a reward model predicts after fit() or load()")
        pairs = self._pairs(features_BD, modalities, texts, given)
        means_CB, variances_CB = self.process_.latent(pairs, self._congruence)
        return [
            above(mean_B, variance_B, calibration)
            for mean_B, variance_B, calibration in zip(
                means_CB, variances_CB, self.calibration_, strict=True
            )
        ]

    def _pairs(
        self,
        features_BD: Tensor,
        modalities: Sequence[str],
        texts: Sequence[str],
        given: Sequence[ConditioningFeatures],
    ) -> Pairs:
        prompts_BP = self._prompts(modalities, texts).to(features_BD.device)
        if self.code_ is None or not len(features_BD):
            return Pairs(features_BD, prompts_BP)
        return Pairs(
            features_BD,
            prompts_BP,
            self.code_(given or [ConditioningFeatures()] * len(features_BD)),
        )

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
        width = len(self.modalities_) + self.config.text_buckets
        return torch.stack([encoded[pair] for pair in pairs]) if pairs else torch.zeros(0, width)
