"""Classifiers that are trained to measure: a linear probe, or a network from scratch.

Shapes: N examples, C classes, D features, H x W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.evaluation.sets import ImageSet
from curate.samples.features import features_of
from curate.samples.stored import batches
from rewards.backbones import Backbone
from rewards.classifiers import learning_device, new_classifier
from rewards.frozen.data import to_side

LINEAR = "linear"
STRENGTH = 0.01  # of the probe: the inverse of its penalty, on standardised features
ITERATIONS = 300
STEPS, BATCH = 250, 64  # of a network; steps, so that more data cost no more
LEARNING_RATE = 2e-3
OF_ATTENTION = 5e-4  # windows of attention do not learn at the convolutions' rate
READ_AT_ONCE = 256

Predict = Callable[[Tensor], Tensor]  # inputs to the probability of each class [N, C]


@dataclass(frozen=True)
class ClassExamples:
    """What a classifier learns from; a weight says how much an example counts."""

    inputs: Tensor  # features [N, D], or pixels [N, 3, H, W]
    classes_N: Tensor  # int64
    weights_N: Tensor | None = None  # 1 each without


@dataclass(frozen=True)
class Classifier:
    """A way to learn classes: "linear", or the name of a network that starts from nothing."""

    name: str
    steps: int = STEPS

    def inputs(self, images: ImageSet, backbone: Backbone) -> Tensor:
        """Return what it reads of a set of images: features, or pixels at 64 x 64."""
        return finite_features(images, backbone) if self.name == LINEAR else pixels_of(images)

    def fit(
        self,
        examples: ClassExamples,
        num_classes: int,
        *,
        seed: int,
        first: ClassExamples | None = None,
    ) -> Predict:
        """Learn, each class with equal weight in all; a network may learn from `first` before."""
        if self.name == LINEAR:
            return _fit_probe(examples, _balanced(examples, num_classes), num_classes)
        network = new_classifier(self.name, num_classes, seed=seed).to(learning_device())
        rate = OF_ATTENTION if "swin" in self.name else LEARNING_RATE
        for some in (first, examples):
            if some is not None:
                weights_N = _balanced(some, num_classes)
                _train_network(network, some, weights_N, rate, steps=self.steps, seed=seed)
        return lambda inputs: _read(network, inputs)


def _balanced(examples: ClassExamples, num_classes: int) -> Tensor:
    """Return weights [N] of mean 1 that give every class that has examples the same sum."""
    given = examples.weights_N
    weights_N = torch.ones(len(examples.classes_N)) if given is None else given.float()
    sums_C = torch.zeros(num_classes).index_add_(0, examples.classes_N, weights_N)
    weights_N = weights_N / sums_C[examples.classes_N]
    return weights_N / weights_N.mean()


def _fit_probe(examples: ClassExamples, weights_N: Tensor, num_classes: int) -> Predict:
    """Multinomial logistic regression on features standardised over the examples."""
    mean_D, spread_D = examples.inputs.mean(0), examples.inputs.std(0, unbiased=False) + 1e-6
    classes = np.unique(examples.classes_N.numpy())
    if len(classes) == 1:  # a single class: there is nothing to tell apart
        only = functional.one_hot(examples.classes_N[:1], num_classes).float()
        return lambda inputs: only.expand(len(inputs), num_classes)
    probe = LogisticRegression(C=STRENGTH, max_iter=ITERATIONS)
    standard = ((examples.inputs - mean_D) / spread_D).numpy()
    probe.fit(standard, examples.classes_N.numpy(), sample_weight=weights_N.numpy())

    def predict(inputs: Tensor) -> Tensor:
        said = probe.predict_proba(((inputs - mean_D) / spread_D).numpy())
        probabilities_NC = torch.zeros(len(inputs), num_classes)
        probabilities_NC[:, torch.from_numpy(classes)] = torch.from_numpy(said).float()
        return probabilities_NC

    return predict


def _train_network(
    network: nn.Module,
    examples: ClassExamples,
    weights_N: Tensor,
    rate: float,
    *,
    steps: int,
    seed: int,
) -> None:
    """Train for a number of steps: batches drawn by weight, shifted and re-lit, never flipped.

    A flip would turn left into right, which some findings depend on.
    """
    random, device = torch.Generator().manual_seed(seed), learning_device()
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    network.train()
    for _ in range(steps):
        drawn = torch.multinomial(weights_N, BATCH, replacement=True, generator=random)
        logits = network(_varied(examples.inputs[drawn], random).to(device))
        loss = functional.cross_entropy(logits, examples.classes_N[drawn].to(device))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    network.eval()


def _varied(images_N3HW: Tensor, random: torch.Generator) -> Tensor:
    """Return images each shifted by up to 4 pixels, its brightness and contrast changed by 20 %."""
    padded = functional.pad(images_N3HW, (4, 4, 4, 4), mode="replicate")
    height, width = images_N3HW.shape[2:]
    shifts = torch.randint(0, 9, (len(padded), 2), generator=random).tolist()
    moved = [p[:, y : y + height, x : x + width] for p, (y, x) in zip(padded, shifts, strict=True)]
    light = 0.4 * torch.rand(len(moved), 2, generator=random)[..., None, None, None] - 0.2
    images = torch.stack(moved)
    return (images - 0.5) * (1 + light[:, 0]) + 0.5 + light[:, 1]


@torch.no_grad()
def _read(network: nn.Module, inputs: Tensor) -> Tensor:
    device = learning_device()
    parts = [network(part.to(device)).softmax(dim=1) for part in inputs.split(READ_AT_ONCE)]
    return torch.cat(parts).cpu()


def finite_features(images: ImageSet, backbone: Backbone) -> Tensor:
    """Return features [N, D], cached; CurateError where the network gives NaN or infinity."""
    features_ND = features_of(images, backbone, images.hashes)
    broken = (~features_ND.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if broken:
        raise CurateError(
            f"{backbone.name} gives NaN or infinite features of {len(broken)} of "
            f"{len(images.images)} images, as of {images.images[broken[0]].name}. Use another "
            "network with --features, or leave these images out."
        )
    return features_ND


def pixels_of(images: ImageSet) -> Tensor:
    """Return the central squares of a set at 64 x 64, float32 [N, 3, 64, 64] in [0, 1]."""
    pixels = torch.empty(len(images.images), 3, 64, 64)
    for positions, images_B3HW in batches(images.store, images.hashes, READ_AT_ONCE):
        pixels[positions] = to_side(images_B3HW)
    return pixels
