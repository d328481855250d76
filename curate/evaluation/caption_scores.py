"""How near a text is to the one that belongs to an image. One reference an image.

Texts are compared as lower-case words, without punctuation. Shapes: N images, R resamples.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_WORDS = 4  # of an n-gram
LENGTH_SPREAD = 6.0  # words, of CIDEr-D's penalty for another length
RECALL_WEIGHT = 1.2  # ROUGE-L's beta, as the field's captioning scores take it
Floats = NDArray[np.float64]


def words_of(text: str) -> list[str]:
    """Return a text's words in lower case."""
    return re.findall(r"\w+", text.casefold())


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Count the runs of n words."""
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


@dataclass(frozen=True)
class CaptionScores:
    """What each image's text scores; BLEU is of all together, so that its counts are kept."""

    cider_N: Floats  # 0 .. 10
    rouge_N: Floats  # 0 .. 1
    bleu_N10: Floats  # matches of 1 .. 4 words, runs of 1 .. 4 words, words, reference's words

    def bleu(self, weights_RN: Floats) -> Floats:
        """Return BLEU-4 of resamples [R] (Papineni 2002, ACL), without smoothing."""
        counts_R10 = weights_RN @ self.bleu_N10
        matches_R4, runs_R4 = counts_R10[:, :MOST_WORDS], counts_R10[:, MOST_WORDS:8]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs_R = np.log(matches_R4 / runs_R4).mean(axis=1)
            brevity_R = np.minimum(0.0, 1 - counts_R10[:, 9] / counts_R10[:, 8])
        found_R: Floats = np.nan_to_num(np.exp(logs_R + brevity_R))
        return found_R

    def mean(self, values_N: Floats, weights_RN: Floats) -> Floats:
        """Return a mean over images of resamples [R]."""
        means_R: Floats = (weights_RN @ values_N) / weights_RN.sum(axis=1)
        return means_R


def score_captions(said: Sequence[str], references: Sequence[str]) -> CaptionScores:
    """Score the text said of each image against its own.

    BLEU (Papineni 2002), ROUGE-L (Lin 2004) and CIDEr-D (Vedantam 2015, CVPR), whose words weigh
    by how few of all references have them: its figures belong to one set of references.
    """
    if len(said) != len(references) or not references:
        raise ValueError(f"{len(said)} texts for {len(references)} references")
    pairs = [(words_of(a), words_of(b)) for a, b in zip(said, references, strict=True)]
    seen = [Counter[tuple[str, ...]]() for _ in range(MOST_WORDS)]
    for n, of_n in enumerate(seen, 1):
        for _, reference in pairs:
            of_n.update(_ngrams(reference, n).keys())
    return CaptionScores(
        cider_N=np.array([_cider(a, b, seen, len(pairs)) for a, b in pairs]),
        rouge_N=np.array([_rouge(a, b) for a, b in pairs]),
        bleu_N10=np.array([_bleu_counts(a, b) for a, b in pairs], float),
    )


def _cider(
    said: Sequence[str],
    reference: Sequence[str],
    seen: Sequence[Counter[tuple[str, ...]]],
    num_images: int,
) -> float:
    total = 0.0
    for n, of_n in enumerate(seen, 1):

        def weighed(words: Sequence[str], n: int = n) -> dict[tuple[str, ...], float]:
            return {
                gram: count * math.log(num_images / max(1, of_n[gram]))  # noqa: B023
                for gram, count in _ngrams(words, n).items()
            }

        one, other = weighed(said), weighed(reference)
        product = sum(min(one.get(gram, 0.0), weight) * weight for gram, weight in other.items())
        lengths = math.hypot(*one.values()) * math.hypot(*other.values())
        total += product / lengths if lengths else 0.0
    apart = len(said) - len(reference)
    return 10 * total / len(seen) * math.exp(-(apart**2) / (2 * LENGTH_SPREAD**2))


def _rouge(said: Sequence[str], reference: Sequence[str]) -> float:
    """Return the F of the longest common subsequence."""
    row = [0] * (len(reference) + 1)
    for word in said:
        before = row
        row = [0]
        for at, other in enumerate(reference):
            row.append(before[at] + 1 if word == other else max(before[at + 1], row[at]))
    if not row[-1]:
        return 0.0
    precision, recall = row[-1] / len(said), row[-1] / len(reference)
    beta = RECALL_WEIGHT**2
    return (1 + beta) * precision * recall / (recall + beta * precision)


def _bleu_counts(said: Sequence[str], reference: Sequence[str]) -> list[int]:
    runs = [(_ngrams(said, n), _ngrams(reference, n)) for n in range(1, MOST_WORDS + 1)]
    matches = [(one & other).total() for one, other in runs]
    return [*matches, *(one.total() for one, _ in runs), len(said), len(reference)]
