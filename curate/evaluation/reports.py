"""Do synthetic images and their prompts help a network that writes what an image shows?

Shapes: N test images, D draws, R resamples.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.errors import CurateError
from curate.evaluation.caption_scores import CaptionScores, Floats, score_captions, words_of
from curate.evaluation.classifiers import finite_features
from curate.evaluation.config import CaptionConfig
from curate.evaluation.features import unit
from curate.evaluation.intervals import Estimate
from curate.evaluation.kept import kept, key_of
from curate.evaluation.label_classifier import patient_of
from curate.evaluation.sets import ImageSet, SetImage
from curate.evaluation.utility import COPIES, ONLY, REAL_ONLY, numbers_of, percentiles
from curate.evaluation.utility_sides import UtilitySides
from curate.progress import ShowProgress
from rewards.backbones import Backbone
from rewards.captioner import new_captioner, train_captioner

RESAMPLES = 1000
REFERENCE, NEAREST, COMMONEST, RANDOM = (
    "reference",
    "nearest training caption",
    "commonest caption",
    "random caption",
)


@dataclass(frozen=True)
class Written:
    """How good the texts of one arm are; a gain is over real images alone."""

    arm: str
    cider: Estimate  # CIDEr-D, 0 .. 10
    bleu: Estimate  # BLEU-4, 0 .. 1
    rouge: Estimate  # ROUGE-L, 0 .. 1
    label_share: float | None  # texts nearest to a training caption of the image's own label
    gain: Estimate | None  # in CIDEr-D, paired
    num_synthetic: int


@dataclass(frozen=True)
class Reports:
    """The table of all arms, and what a reader of it should know."""

    model: str
    num_test: int
    arms: tuple[Written, ...]
    examples: tuple[tuple[str, str, str], ...]  # image, what real images alone said, its own text
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the table for a person to read."""
        lines = [
            f"{self.model}; {self.num_test} test images; 95 % intervals over draws and patients",
            f"  {'':<48} {'CIDEr-D':<22} {'BLEU-4':<22} {'ROUGE-L':<22} label",
        ]
        for one in self.arms:
            cells = " ".join(
                f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f})".ljust(22)
                for e in (one.cider, one.bleu, one.rouge)
            )
            label = "-" if one.label_share is None else f"{100 * one.label_share:.0f} %"
            gain = "" if one.gain is None else f"  gain {_signed(one.gain)}"
            lines.append(f"  {one.arm:<48} {cells} {label}{gain}")
        lines += [f"  {name}: {said!r}, asked {asked!r}" for name, said, asked in self.examples]
        return lines + [f"Note: {note}" for note in self.notes]


def _signed(one: Estimate) -> str:
    star = " *" if one.excludes_zero() else ""
    return f"{one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f}){star}"


@dataclass(frozen=True)
class _Arm:
    """What a captioner learns from: real images, and synthetic ones as a multiple of them."""

    name: str
    ratio: int  # 0: none, or all where the real ones are left out
    of: str = ""  # a set's name, or copies
    has_real: bool = True


def measure_reports(
    sides: UtilitySides, backbone: Backbone, config: CaptionConfig, progress: ShowProgress
) -> Reports:
    """Train a captioner for each arm and draw; what was done before a stop is not done again.

    Only images with a text count. Raises CurateError where a real side has none.
    """
    worded = [one.of(lambda i: bool(words_of(i.text))) for one in (sides.train, sides.test)]
    for side, words in zip((sides.train, sides.test), worded, strict=True):
        if not words.images:
            raise CurateError(
                f"{side.name}: no image has a text (column Text), so none is learned."
            )
    real = UtilitySides(
        worded[0],
        worded[1],
        tuple(one.of(lambda i: bool(words_of(i.text))) for one in sides.sets),
        sides.notes,
    )
    empty = [one.name for one in real.sets if not one.images]
    real = replace(real, sets=tuple(one for one in real.sets if one.images))
    captions = _Captions(real, backbone, config)
    arms = _arms_of(real.sets, config)
    key = [*asdict(config).items(), backbone.fingerprint, *real.identity]
    said: dict[str, list[list[str]]] = captions.without_training()
    with progress(len(arms) * config.draws, "arms and draws") as advance:
        for arm, draw in product(arms, range(config.draws)):
            texts = kept(
                real.train.cache,
                key_of(["reports", *key, asdict(arm), draw]),
                lambda arm=arm, draw=draw: captions.learned(arm, draw),  # type: ignore[misc]
            )
            said.setdefault(arm.name, []).append(texts)
            advance(1)
    lost = [f"{name}: no image has a text" for name in empty]
    return captions.table(said, {arm.name: arm for arm in arms}, (*lost, *sides.notes))


def _arms_of(sets: Sequence[ImageSet], config: CaptionConfig) -> list[_Arm]:
    arms = [_Arm(REAL_ONLY, 0)]
    for ratio in (some for some in numbers_of(config.ratios) if some > 0):
        names = [COPIES, *(one.name for one in sets)] if sets else []
        arms += [_Arm(f"real + {ratio}x {name}", ratio, name) for name in names]
    return arms + [_Arm(f"{one.name}: {ONLY}", 0, one.name, has_real=False) for one in sets]


class _Captions:
    """What is learned from and asked of, as features and texts."""

    def __init__(self, sides: UtilitySides, backbone: Backbone, config: CaptionConfig) -> None:
        self.sides, self.config = sides, config
        self.network = backbone.name
        features = [
            finite_features(one, backbone) for one in (sides.train, sides.test, *sides.sets)
        ]
        mean_D, spread_D = features[0].mean(0), features[0].std(0, unbiased=False) + 1e-6
        standard = [(some - mean_D) / spread_D for some in features]
        self.train_ND, self.test_ND = standard[:2]
        self.made = {one.name: some for one, some in zip(sides.sets, standard[2:], strict=True)}
        self.references = [image.text for image in sides.test.images]

    def without_training(self) -> dict[str, list[list[str]]]:
        """Return what a text costs that nobody learned: the rows that a captioner must beat."""
        images = self.sides.train.images
        nearest = (unit(self.test_ND) @ unit(self.train_ND).T).argmax(dim=1).tolist()
        of_modality = defaultdict[str, Counter[str]](Counter)
        for image in images:
            of_modality[image.modality][image.text] += 1
        everywhere = sum(of_modality.values(), Counter[str]())
        commonest = [
            max((of_modality[image.modality] or everywhere).items(), key=lambda one: (one[1], one))
            for image in self.sides.test.images
        ]
        lot = np.random.default_rng(0).integers(len(images), size=len(self.references)).tolist()
        return {
            REFERENCE: [self.references],
            NEAREST: [[images[at].text for at in nearest]],
            COMMONEST: [[text for text, _ in commonest]],
            RANDOM: [[images[at].text for at in lot]],
        }

    def learned(self, arm: _Arm, draw: int) -> list[str]:
        """Train on an arm's images and return what it says of each test image."""
        random = torch.Generator().manual_seed(1000 * draw + 7)
        parts = [(self.train_ND, self.sides.train.images)] if arm.has_real else []
        parts += self._synthetic(arm, random)
        features_ND = torch.cat([some for some, _ in parts])
        texts = [words_of(image.text) for _, images in parts for image in images]
        captioner = new_captioner(self.config.model, texts, features_ND.shape[1], seed=draw)
        train_captioner(captioner, features_ND, texts, steps=self.config.steps, seed=draw)
        return [text for part in self.test_ND.split(256) for text in captioner.say(part)]

    def _synthetic(
        self, arm: _Arm, random: torch.Generator
    ) -> list[tuple[Tensor, tuple[SetImage, ...]]]:
        if not arm.of:
            return []
        if arm.of == COPIES:
            return [(self.train_ND, self.sides.train.images)] * arm.ratio
        [images] = [one.images for one in self.sides.sets if one.name == arm.of]
        order = torch.randperm(len(images), generator=random)
        chosen = order[: arm.ratio * len(self.sides.train.images) or len(images)].tolist()
        return [(self.made[arm.of][chosen], tuple(images[at] for at in chosen))]

    def table(
        self, said: dict[str, list[list[str]]], arms: dict[str, _Arm], notes: Sequence[str]
    ) -> Reports:
        """Return the figures of all that was said."""
        scored = {
            name: [score_captions(texts, self.references) for texts in draws]
            for name, draws in said.items()
        }
        resampling = _Resampling(self.sides.test.images, self.config.draws)
        alone_R = resampling.cider(scored[REAL_ONLY])
        written = []
        for name, draws in scored.items():
            cider_R = resampling.cider(draws)
            arm = arms.get(name)
            synthetic = (
                sum(len(i) for _, i in self._synthetic(arm, torch.Generator())) if arm else 0
            )
            is_beside = arm is not None and arm.has_real and name != REAL_ONLY
            written.append(
                Written(
                    arm=name,
                    cider=percentiles(cider_R),
                    bleu=percentiles(resampling.bleu(draws)),
                    rouge=percentiles(resampling.rouge(draws)),
                    label_share=self._label_share(said[name]),
                    gain=percentiles(cider_R - alone_R) if is_beside else None,
                    num_synthetic=synthetic,
                )
            )
        shown = zip(self.sides.test.images, said[REAL_ONLY][0], strict=True)
        examples = [(image.name, text, image.text) for image, text in shown][:3]
        return Reports(
            model=f"{self.config.model} captioner, {self.config.draws} draws, {self.network}",
            num_test=len(self.references),
            arms=tuple(written),
            examples=tuple(examples),
            notes=tuple(notes),
        )

    def _label_share(self, draws: Sequence[Sequence[str]]) -> float | None:
        """Return the share whose text is nearest, by its words, to a caption of the own label."""
        known: dict[frozenset[str], Counter[str]] = defaultdict(Counter)
        for image in self.sides.train.images:
            if image.label is not None:
                known[frozenset(words_of(image.text))][image.shown] += 1
        asked = [
            image.shown if image.label is not None else None for image in self.sides.test.images
        ]
        if not known or not any(asked):
            return None
        likeliest = [(words, labels.most_common(1)[0][0]) for words, labels in known.items()]

        def read(text: str) -> str:
            own = frozenset(words_of(text))
            return max((len(own & words) / len(own | words), label) for words, label in likeliest)[
                1
            ]

        labels = {text: read(text) for text in {text for draw in draws for text in draw}}
        right = [
            labels[text] == label
            for draw in draws
            for text, label in zip(draw, asked, strict=True)
            if label is not None
        ]
        return float(np.mean(right))


class _Resampling:
    """Draws and test patients drawn together, the same ones for every arm."""

    def __init__(self, images: Sequence[SetImage], num_draws: int, *, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        owners, of = np.unique([patient_of(image) for image in images], return_inverse=True)
        even = np.full(len(owners), 1 / len(owners))
        self.weights_RN: Floats = random.multinomial(len(owners), even, RESAMPLES)[:, of].astype(
            float
        )
        self.weights_RN[0] = 1  # the first is the figure itself
        of_draws = np.full(num_draws, 1 / num_draws)
        self.draws_RD = random.multinomial(num_draws, of_draws, RESAMPLES) / num_draws
        self.draws_RD[0] = of_draws

    def _over_draws(self, figures: Sequence[Floats]) -> Floats:
        if len(figures) == 1:  # nothing was drawn
            return figures[0]
        mean_R: Floats = (np.stack(figures, axis=1) * self.draws_RD).sum(axis=1)
        return mean_R

    def cider(self, draws: Sequence[CaptionScores]) -> Floats:
        """Return CIDEr-D of each resample [R]."""
        return self._over_draws([one.mean(one.cider_N, self.weights_RN) for one in draws])

    def rouge(self, draws: Sequence[CaptionScores]) -> Floats:
        """Return ROUGE-L of each resample [R]."""
        return self._over_draws([one.mean(one.rouge_N, self.weights_RN) for one in draws])

    def bleu(self, draws: Sequence[CaptionScores]) -> Floats:
        """Return BLEU-4 of each resample [R]."""
        return self._over_draws([one.bleu(self.weights_RN) for one in draws])
