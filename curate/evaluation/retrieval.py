"""Whether images and texts find each other. In shapes: N queries, M in the gallery, D features."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import hypergeom
from torch import Tensor, nn
from torch.nn import functional

from curate.evaluation.caption_scores import words_of
from curate.evaluation.features import unit

TOP = 10
MEETING = 64  # dimensions in which images and texts meet
MEETINGS, TOGETHER = 300, 128  # steps, and images of each
TEMPERATURE = 0.1


def precision_at_10(
    queries_ND: Tensor,
    asked: Sequence[str | None],
    gallery_MD: Tensor,
    labels: Sequence[str | None],
) -> NDArray[np.float64]:
    """Return of each query the share of its ten nearest, by cosine, that have its label.

    MINIM's IIR counts a query as found when one of ten fits; with few classes that is nearly
    always so by chance. Of features that know nothing the share is the label's in the gallery.
    """
    near = (unit(queries_ND) @ unit(gallery_MD).T).topk(TOP, dim=1).indices.tolist()
    return np.array(
        [
            sum(labels[at] == label for at in found) / TOP
            for label, found in zip(asked, near, strict=True)
        ]
    )


def hits_at_10(
    queries_ND: Tensor,
    asked: Sequence[str | None],
    gallery_MD: Tensor,
    labels: Sequence[str | None],
) -> NDArray[np.bool_]:
    """Return of each query whether any of its ten nearest has its label: MINIM's IIR.

    With few classes that is nearly always so; of features that know nothing the share is
    `chance_at_10`.
    """
    return precision_at_10(queries_ND, asked, gallery_MD, labels) > 0


def chance_at_10(asked: Sequence[str | None], labels: Sequence[str | None]) -> float:
    """Return the share of hits among ten drawn by lot from the gallery, without putting back."""
    return float(
        np.mean([1 - hypergeom.pmf(0, len(labels), labels.count(label), TOP) for label in asked])
    )


class ImageToText:
    """Linear heads on frozen image features and on the words of texts, which learn to meet.

    InfoNCE (van den Oord 2018, arXiv 1807.03748) with equal texts as one: captions of templates
    are often equal, and one of them would be no better an answer than another.
    """

    def __init__(self, features_ND: Tensor, texts: Sequence[str], *, seed: int = 0) -> None:
        """Learn from real images and their texts."""
        self.captions = sorted({" ".join(words_of(text)) for text in texts})
        vocabulary = sorted({word for caption in self.captions for word in caption.split()})
        numbers = {word: number for number, word in enumerate(vocabulary)}
        words_TV = torch.zeros(len(self.captions), len(vocabulary))
        for row, caption in zip(words_TV, self.captions, strict=True):
            row[[numbers[word] for word in caption.split()]] = 1
        rarity_V = torch.log(len(self.captions) / words_TV.sum(0))
        words_TV = unit(words_TV * (rarity_V + 1e-3))
        self._mean_D = features_ND.mean(0)
        self._spread_D = features_ND.std(0, unbiased=False) + 1e-6
        places = {caption: place for place, caption in enumerate(self.captions)}
        asked_N = torch.tensor([places[" ".join(words_of(text))] for text in texts])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._image = nn.Linear(features_ND.shape[1], MEETING)
            self._text = nn.Linear(len(vocabulary), MEETING)
        self._learn(features_ND, words_TV, asked_N, seed)
        with torch.no_grad():
            self._captions_TE = unit(self._text(words_TV))

    def _learn(self, features_ND: Tensor, words_TV: Tensor, asked_N: Tensor, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        heads = [*self._image.parameters(), *self._text.parameters()]
        optimiser = torch.optim.AdamW(heads, lr=3e-3, weight_decay=0.1)
        standard_ND = (features_ND - self._mean_D) / self._spread_D
        for _ in range(MEETINGS):
            drawn = torch.randint(len(asked_N), (TOGETHER,), generator=random)
            images = unit(self._image(standard_ND[drawn]))
            logits_BT = images @ unit(self._text(words_TV)).T / TEMPERATURE
            loss = functional.cross_entropy(logits_BT, asked_N[drawn])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    @torch.no_grad()
    def found(self, features_ND: Tensor, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return of each image whether its own text is among the ten nearest (ITR top-10)."""
        near = (
            unit(self._image((features_ND - self._mean_D) / self._spread_D)) @ self._captions_TE.T
        )
        best = near.topk(min(TOP, len(self.captions)), dim=1).indices.tolist()
        asked = [" ".join(words_of(text)) for text in texts]
        return np.array(
            [
                any(self.captions[at] == text for at in found)
                for found, text in zip(best, asked, strict=True)
            ]
        )
