"""Figures of a set beside real ones: fidelity, diversity, privacy, retrieval.

Each stands with what it is of, its interval, how many images it rests on and, where there is none,
the reason. In shapes: N images, D features.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from curate.evaluation.classifiers import Classifier, pixels_of
from curate.evaluation.config import AxesConfig
from curate.evaluation.diversity import ms_ssim, vendi_score
from curate.evaluation.features import unit
from curate.evaluation.fidelity import (
    NEIGHBOURS,
    bounded_mmd,
    compact,
    frechet,
    frechet_of_many,
    inception_score,
    kid,
    manifolds,
    of_halves,
)
from curate.evaluation.intervals import Estimate, bootstrap_mean
from curate.evaluation.label_classifier import readable, train_label_classifier
from curate.evaluation.privacy import copy_radius, membership_auc, memorised_share, nearest
from curate.evaluation.retrieval import precision_at_10
from curate.evaluation.sets import ImageSet, SetImage
from rewards.backbones import Backbone

FEWEST = 10  # images on each side, below which nothing is computed of a group
INCEPTION = "inception"  # in the name of a network whose Frechet distance is the field's FID
SIBLINGS = 8  # images of a prompt that are compared pairwise

Part = Callable[[Any], bool]


@dataclass(frozen=True)
class Measure:
    """One figure of an axis; without an estimate, `says` is the reason."""

    axis: str
    name: str
    of: str  # "all", a modality, a class or a group
    estimate: Estimate | None
    says: str = ""


@dataclass(frozen=True)
class Side:
    """A set with its features, pixels where they are asked for, and its groups."""

    images: ImageSet
    features_ND: Tensor

    def places(self, of: "Part") -> list[int]:
        """Return where the images of a part are."""
        return [at for at, image in enumerate(self.images.images) if of(image)]

    def part(self, of: "Part") -> Tensor:
        """Return the features of a part."""
        return self.features_ND[self.places(of)]


@dataclass(frozen=True)
class Compared:
    """A set beside the real images that its generator may have seen, and those that it has not."""

    made: Side
    train: Side
    test: Side | None
    config: AxesConfig
    backbone: Backbone
    # whose real images teach the label classifier
    reads: Callable[[SetImage], bool] = lambda image: True

    def parts(self) -> Iterator[tuple[str, Part]]:
        """Yield what figures are of: all, then each modality and class, or each group."""
        yield "all", lambda image: True
        column = self.config.by
        names = self._classes() if column is None else self._groups(column)
        yield from sorted(names.items())

    def _classes(self) -> dict[str, Part]:
        images = [*self.made.images.images]
        modalities: dict[str, Part] = {
            name: lambda image, name=name: image.modality == name  # type: ignore[misc]
            for name in {image.modality for image in images}
        }
        classes: dict[str, Part] = {
            name: lambda image, name=name: image.shown == name  # type: ignore[misc]
            for name in {image.shown for image in images if image.label is not None}
        }
        return classes | (modalities if len(modalities) > 1 else {})

    def _groups(self, column: str) -> dict[str, Part]:
        real = {image.groups.get(column) for image in self.train.images.images}
        made = {image.groups.get(column) for image in self.made.images.images}

        def part(value: str) -> Part:
            """A group's real images, beside its generated ones where these have the column."""
            return lambda image: (
                image.groups.get(column, value if made == {None} else None) == value
            )

        return {f"{column} {value}": part(value) for value in sorted(filter(None, real | made))}


def fidelity_of(compared: Compared) -> Iterator[Measure]:
    """Yield how near the set is to real training images, of all, each modality and each class.

    Of all and each modality, held-out real images give the same figures: what is at best reached.
    """
    is_fid = INCEPTION in compared.backbone.name.lower()
    distance = "FID" if is_fid else "Frechet distance"
    sides = [("", compared.made), *([("real ", compared.test)] if compared.test else [])]
    for of, part in compared.parts():
        for whose, side in sides:
            made, real = side.part(part), compared.train.part(part)
            if min(len(made), len(real)) < FEWEST:
                why = f"{len(made)} and {len(real)} real images; {FEWEST} of each are needed"
                yield Measure("fidelity", f"{whose}{distance}", of, None, why)
                continue
            small, real_small = compact(made, real)
            dims = small.shape[1]
            cut = "" if dims == made.shape[1] else f"on {dims} axes"
            name = f"{whose}{distance}"
            yield Measure("fidelity", name, of, of_halves(frechet, small, real_small), cut)
            many = of_halves(frechet_of_many, small, real_small)
            yield Measure("fidelity", f"{name}, n endless", of, many, cut)
            yield Measure("fidelity", f"{whose}KID", of, kid(made, real))
            bounded = of_halves(bounded_mmd, made, real)
            yield Measure("fidelity", f"{whose}bounded MMD", of, bounded)
            yield from _manifolds(whose, of, made, real)
    yield from _inception_scores(compared)


def _manifolds(whose: str, of: str, made: Tensor, real: Tensor) -> Iterator[Measure]:
    """Numbers are made equal on both sides: the balls of a larger set are smaller."""
    num = min(len(made), len(real))
    random = torch.Generator().manual_seed(0)
    made, real = (some[torch.randperm(len(some), generator=random)[:num]] for some in (made, real))
    for name in ("precision", "recall", "density", "coverage"):

        def figure(one: Tensor, other: Tensor, name: str = name) -> float:
            value: float = getattr(manifolds(one, other), name)
            return value

        if num > 2 * NEIGHBOURS + 1:
            estimate = of_halves(figure, made, real, num_subsets=10)
            yield Measure("fidelity", f"{whose}{name}", of, estimate, f"k {NEIGHBOURS}")


def _inception_scores(compared: Compared) -> Iterator[Measure]:
    """By the label classifier of real patients: ImageNet's classes say nothing of these images."""
    train = compared.train
    labels, _ = readable(train.images.images)
    classifier = train_label_classifier(
        Classifier("linear"), train.features_ND, train.images.images
    )
    for modality, known in labels.items():
        for whose, side in (("", compared.made), ("real ", compared.test)):
            if side is None:
                continue
            own = side.part(lambda image, modality=modality: image.modality == modality)  # type: ignore[misc]
            if len(own) >= FEWEST:
                score = inception_score(classifier.predict[modality](own))
                estimate = Estimate(score, score, score, len(own))
                says = f"of at most {len(known)}; no interval"
                yield Measure("fidelity", f"{whose}inception score", modality, estimate, says)


def diversity_of(compared: Compared) -> Iterator[Measure]:
    """Yield how much the images differ: MS-SSIM within prompts, Vendi, nearest siblings."""
    made, test = compared.made, compared.test or compared.train
    similar = similarity_within_prompts(made.images)
    yield Measure("diversity", "MS-SSIM within prompts", "all", similar, "lower is more varied")
    for of, part in compared.parts():
        own, real = unit(made.part(part)), unit(test.part(part))
        if min(len(own), len(real)) < FEWEST:
            continue
        num = min(len(own), len(real))  # the score rises with the number of images
        for whose, some in (("", own), ("real ", real)):
            vendi = vendi_score(some[:num])
            estimate = Estimate(vendi, vendi, vendi, num)
            yield Measure("diversity", f"{whose}Vendi score", of, estimate, "no interval")
            gaps = torch.cdist(some, some).fill_diagonal_(torch.inf).min(1).values
            yield Measure("diversity", f"{whose}nearest sibling", of, bootstrap_mean(gaps.numpy()))


def similarity_within_prompts(images: ImageSet) -> Estimate | None:
    """Return the mean MS-SSIM of pairs of one prompt, over prompts, at 64 pixels and 3 scales."""
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for at, image in enumerate(images.images):
        by_prompt[image.prompt].append(at)
    means = []
    for places in by_prompt.values():
        some = places[:SIBLINGS]
        if len(some) < 2:
            continue
        chosen = {images.images[at].name for at in some}
        pixels = pixels_of(images.of(lambda image, chosen=chosen: image.name in chosen))  # type: ignore[misc]
        pairs = torch.tensor(list(combinations(range(len(pixels)), 2)))
        means.append(float(ms_ssim(pixels[pairs[:, 0]], pixels[pairs[:, 1]]).mean()))
    return bootstrap_mean(means) if means else None


def privacy_of(compared: Compared) -> Iterator[Measure]:
    """Yield whether training images come back: copies, membership, nearest distances."""
    train, test = compared.train, compared.test
    if test is None:
        yield Measure("privacy", "memorised", "all", None, "no held-out real images (--test)")
        return
    for of, part in compared.parts():
        own, seen, unseen = (unit(side.part(part)) for side in (compared.made, train, test))
        if min(len(own), len(seen), len(unseen)) < FEWEST:
            why = f"{len(own)}, {len(seen)} and {len(unseen)} images; {FEWEST} of each are needed"
            yield Measure("privacy", "memorised", of, None, why)
            continue
        radius = copy_radius(nearest(unseen, seen)[0])
        yield Measure("privacy", "memorised", of, memorised_share(own, seen, radius=radius))
        auc = membership_auc(own, seen, unseen)
        says = "leaks: above 0.5" if auc.low > 0.5 else ""
        yield Measure("privacy", "membership AUC", of, auc, says)
        for whose, some in (("", own), ("held-out ", unseen)):
            gaps = nearest(some, seen)[0].numpy()
            yield Measure("privacy", f"{whose}nearest training", of, bootstrap_mean(gaps))


def retrieval_of(compared: Compared) -> Iterator[Measure]:
    """Yield IIR: of the ten held-out real images nearest to an image, how many share its label."""
    gallery = compared.test or compared.train
    for modality in sorted({image.modality for image in compared.made.images.images}):

        def part(image: Any, modality: str = modality) -> bool:
            return image.modality == modality and image.label is not None

        labels = [gallery.images.images[at].label for at in gallery.places(part)]
        if len(labels) <= 10 or len(set(labels)) < 2:
            why = f"{len(labels)} real images of {len(set(labels))} labels; over 10 of 2 are needed"
            yield Measure("retrieval", "IIR precision at 10", modality, None, why)
            continue
        for whose, side in (("", compared.made), ("real ", compared.train)):
            asked = [side.images.images[at].label for at in side.places(part)]
            if side is not gallery and asked:
                hits = precision_at_10(side.part(part), asked, gallery.part(part), labels)
                counts = Counter(labels)
                chance = sum(counts[label] for label in asked) / len(asked) / len(labels)
                says = f"chance {chance:.2f}"
                name = f"{whose}IIR precision at 10"
                yield Measure("retrieval", name, modality, bootstrap_mean(hits), says)
