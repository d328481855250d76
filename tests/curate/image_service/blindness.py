"""What a rater's browser is given, as numbers for a classifier that tries to see through it.

Everything but the pixels: identifiers, addresses, headers, sizes, the file's structure, the order.
Times of answers are left out: they are the machine's, and a rater's own pace swamps them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from tests.curate.image_service.png import chunks

TIMES = {"date"}  # of the answer, not of the image


@dataclass(frozen=True)
class Fetched:
    """One item of a rater's stream, as the browser got it."""

    place: int  # in the rater's order, from 0
    texts: Mapping[str, str]  # identifiers, addresses, all that is text in the task
    headers: Mapping[str, str]
    body: bytes


def features(stream: Sequence[Fetched]) -> NDArray[np.float64]:
    """Return [items, features]: each text and header as bytes and length, the PNG's structure."""
    names = sorted({name for item in stream for name in _texts(item)})
    rows = []
    for item in stream:
        texts = _texts(item)
        row: list[float] = [item.place, len(item.body)]
        for name in names:
            row += _as_numbers(texts.get(name))
        rows.append(row + _structure(item.body))
    width = max(len(row) for row in rows)
    return np.array([row + [-1.0] * (width - len(row)) for row in rows])


def auc(stream: Sequence[Fetched], truth: Sequence[bool], *, seed: int = 0) -> float:
    """Return the cross-validated area under the ROC curve of a random forest, 0.5 = blind."""
    forest = RandomForestClassifier(80, min_samples_leaf=5, random_state=seed, n_jobs=1)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    told = cross_val_predict(
        forest, features(stream), np.array(truth), cv=folds, method="predict_proba"
    )
    found = float(roc_auc_score(truth, told[:, 1]))
    print(f"AUC {found:.3f} on {len(stream)} items")  # `pytest -rP` shows it
    return found


def spread_by_chance(truth: Sequence[bool]) -> float:
    """Return the standard error of an AUC where nothing tells (Hanley and McNeil 1982)."""
    num_true = sum(truth)
    num_false = len(truth) - num_true
    return float(np.sqrt((len(truth) + 1) / (12 * num_true * num_false)))


def with_changed(item: Fetched, **changes: object) -> Fetched:
    """Return the item with a leak planted."""
    return replace(item, **changes)  # type: ignore[arg-type]


def _texts(item: Fetched) -> dict[str, str]:
    headers = {f"header {k.lower()}": v for k, v in item.headers.items() if k.lower() not in TIMES}
    return {**item.texts, **headers}


def _as_numbers(text: str | None) -> list[float]:
    """Length, the sum of its digits' groups, and its first and last 24 bytes."""
    if text is None:
        return [-1.0] * 51
    data = text.encode()
    numbers = [float(number) for number in re.findall(r"\d{1,15}", text)]
    padded = data[:24].ljust(24, b"\0") + data[-24:].rjust(24, b"\0")
    return [float(len(data)), sum(numbers), numbers[0] if numbers else -1.0, *map(float, padded)]


def _structure(body: bytes) -> list[float]:
    """The PNG's chunks: how many, which, how long, and the header's fields."""
    found = list(chunks(body))
    header = dict(found)[b"IHDR"]
    lengths = [float(len(content)) for _, content in found]
    extra = sum(len(c) for name, c in found if name not in (b"IHDR", b"IDAT", b"IEND"))
    return [float(len(found)), float(extra), max(lengths), *map(float, header)]
