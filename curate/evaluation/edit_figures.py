"""What edits were worth, one by one -> figures with intervals over patients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.evaluation.intervals import Estimate

RESAMPLES = 1000
PRESENT = 0.5  # of a reading: what is above is there
COLUMNS = {
    "auc": "AUC",
    "hit": "hit",
    "kept": "kept",
    "identity": "identity",
    "error": "error",
    "ssim": "SSIM",
    "truth_error": "truth error",
    "composite": "composite",
    "hallucination": "hallucination",
    "kl": "KL of labels",
}
Weights = NDArray[np.float64]
Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class EditOutcome:
    """One image beside its prior; the later fields only where the truth is known."""

    patient: str
    identity: float  # 1: of all patients' priors its own is the nearest
    error: float  # mean absolute, 0 .. 1, where nothing was to change
    ssim: float  # with the prior, the region that was to change put back
    readings: tuple[float, ...] = ()  # of each finding, 0 absent .. 1 present
    wanted: tuple[bool, ...] = ()
    flipped: tuple[bool, ...] = ()  # which findings were to change
    truth_error: float | None = None  # mean absolute where it was to change; 1: as a copy's
    hallucination: float | None = None  # 1: a wrong number of lungs or hearts


@dataclass(frozen=True)
class EditFigures:
    """A row of the table; None is not measured."""

    num_edits: int
    values: dict[str, Estimate | None]  # by the keys of COLUMNS

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: one and asdict(one) for name, one in self.values.items()}
        return {"edits": self.num_edits, **values}


def table_lines(columns: Mapping[str, str], rows: Mapping[str, EditFigures]) -> list[str]:
    """Return rows as text, a dash where nothing is measured; `columns` are keys and their heads."""
    cells = {
        name: [_cell(figures.values[key], 4 if key == "error" else 2) for key in columns]
        for name, figures in rows.items()
    }
    widths = [
        2 + max(len(head), *(len(row[place]) for row in cells.values()))
        for place, head in enumerate(columns.values())
    ]
    first = 2 + max(len(name) for name in rows)
    table = {"": list(columns.values()), **cells}
    return [
        f"{name:<{first}}"
        + "".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for name, row in table.items()
    ]


def _cell(one: Estimate | None, digits: int) -> str:
    """Return a figure with its interval."""
    if one is None:
        return "-"
    return f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"


def figures_of(outcomes: Sequence[EditOutcome], *, seed: int = 0) -> EditFigures:
    """Return the figures with intervals over patients."""
    patients = [one.patient for one in outcomes]
    values = over_patients(patients, lambda own: weighted_figures(outcomes, own), seed=seed)
    return EditFigures(len(outcomes), values)


def over_patients(
    patients: Sequence[str], compute: Callable[[Weights], Figures], *, seed: int = 0
) -> dict[str, Estimate | None]:
    """Return figures with intervals from resampled patients, the same draws for all.

    `compute` takes how often each image counts [N]. `patients` says whose each image is.
    """
    names = sorted(set(patients))
    of = np.array([names.index(one) for one in patients])
    random = np.random.default_rng(seed)
    draws_RP = random.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    whole = compute(np.ones(len(patients)))
    again = [compute(counts_P[of].astype(float)) for counts_P in draws_RP]
    values: dict[str, Estimate | None] = {}
    for name, value in whole.items():
        found = [one[name] for one in again if one[name] is not None]
        if value is None:
            values[name] = None
            continue
        low, high = np.quantile(np.array(found, float), [0.025, 0.975])
        values[name] = Estimate(value, float(low), float(high), len(names))
    return values


def weighted_figures(outcomes: Sequence[EditOutcome], weights_N: Weights) -> Figures:
    """Return each of COLUMNS, an edit counted as often as its weight says.

    The AUC says how well readings of flipped findings tell present from absent. The composite is
    sqrt(max(2 AUC - 1, 0) x identity): who changes nothing, or the patient, has 0. The divergence
    is that of the findings read from those that were wanted.
    """
    means: dict[str, float | None] = {}
    for name in ("identity", "error", "ssim", "truth_error", "hallucination"):
        given = [vars(one)[name] for one in outcomes]
        means[name] = None if None in given else float(np.average(given, weights=weights_N))
    if any(not one.readings for one in outcomes):
        return {**dict.fromkeys(("auc", "hit", "kept", "composite", "kl")), **means}
    readings_NF = np.array([one.readings for one in outcomes])
    wanted_NF = np.array([one.wanted for one in outcomes])
    flipped_NF = np.array([one.flipped for one in outcomes])
    weights_NF = np.broadcast_to(weights_N[:, None], readings_NF.shape)
    right_NF = (readings_NF > PRESENT) == wanted_NF
    shares: dict[str, float | None] = {}
    for name, among_NF in (("hit", flipped_NF), ("kept", ~flipped_NF)):
        total = weights_NF[among_NF].sum()
        own = (weights_NF * right_NF)[among_NF].sum()
        shares[name] = float(own / total) if total else None
    area = weighted_auc(readings_NF[flipped_NF], wanted_NF[flipped_NF], weights_NF[flipped_NF])
    same = means["identity"] or 0.0
    return {
        **means,
        **shares,
        "auc": area,
        "composite": None if area is None else float(np.sqrt(max(2 * area - 1, 0.0) * same)),
        "kl": label_divergence(wanted_NF, readings_NF > PRESENT, weights_N),
    }


def weighted_auc(
    values_N: NDArray[np.float64], there_N: NDArray[np.bool_], weights_N: Weights
) -> float | None:
    """Return the chance that what is there has the larger value, ties a half; None of one kind."""
    above = values_N[there_N][:, None] - values_N[~there_N]
    pairs = weights_N[there_N][:, None] * weights_N[~there_N]
    if not pairs.sum():
        return None
    return float((pairs * ((above > 0) + (above == 0) / 2)).sum() / pairs.sum())


def label_divergence(
    real_NF: NDArray[np.bool_], made_NF: NDArray[np.bool_], weights_N: Weights
) -> float:
    """Return the Kullback-Leibler divergence of made images' findings from real ones', in nats.

    Of each finding's share, present or absent, summed over findings; 0 is the same shares. Half an
    image is added to each side (Krichevsky and Trofimov 1981), so that a share of 0 is no infinity.
    """
    total = weights_N.sum() + 1
    real_F, made_F = ((weights_N @ some + 0.5) / total for some in (real_NF, made_NF))
    there = real_F * np.log(real_F / made_F)
    gone = (1 - real_F) * np.log((1 - real_F) / (1 - made_F))
    return float((there + gone).sum())
