"""What edits were worth, one by one -> figures with intervals over patients."""

from collections.abc import Sequence
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
}


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


@dataclass(frozen=True)
class EditFigures:
    """A row of the table; None is not measured."""

    num_edits: int
    values: dict[str, Estimate | None]  # by the keys of COLUMNS

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: one and asdict(one) for name, one in self.values.items()}
        return {"edits": self.num_edits, **values}

    @staticmethod
    def head() -> str:
        """Return the table's head."""
        return f"{'':<22}" + "".join(f"{name:>20}" for name in COLUMNS.values())

    def line(self, name: str) -> str:
        """Return the row as the table shows it."""
        cells = []
        for key in COLUMNS:
            one = self.values[key]
            digits = 4 if key == "error" else 2
            cells.append(
                "-"
                if one is None
                else f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"
            )
        return f"{name:<22}" + "".join(f"{cell:>20}" for cell in cells)


def figures_of(outcomes: Sequence[EditOutcome], *, seed: int = 0) -> EditFigures:
    """Return the figures with intervals from resampled patients, the same draws for all."""
    names = sorted({one.patient for one in outcomes})
    of = np.array([names.index(one.patient) for one in outcomes])
    random = np.random.default_rng(seed)
    draws_RP = random.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    whole = weighted_figures(outcomes, np.ones(len(outcomes)))
    again = [weighted_figures(outcomes, counts_P[of].astype(float)) for counts_P in draws_RP]
    values: dict[str, Estimate | None] = {}
    for name in COLUMNS:
        value, found = whole[name], [one[name] for one in again if one[name] is not None]
        if value is None:
            values[name] = None
            continue
        low, high = np.quantile(np.array(found, float), [0.025, 0.975])
        values[name] = Estimate(value, float(low), float(high), len(names))
    return EditFigures(len(outcomes), values)


def weighted_figures(
    outcomes: Sequence[EditOutcome], weights_N: NDArray[np.float64]
) -> dict[str, float | None]:
    """Return each of COLUMNS, an edit counted as often as its weight says.

    The AUC says how well readings of flipped findings tell present from absent. The composite is
    sqrt(max(2 AUC - 1, 0) x identity): who changes nothing, or the patient, has 0.
    """
    means: dict[str, float | None] = {}
    for name in ("identity", "error", "ssim", "truth_error"):
        given = [vars(one)[name] for one in outcomes]
        means[name] = None if None in given else float(np.average(given, weights=weights_N))
    if any(not one.readings for one in outcomes):
        return {**dict.fromkeys(("auc", "hit", "kept", "composite")), **means}
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
    there_NF, gone_NF = flipped_NF & wanted_NF, flipped_NF & ~wanted_NF
    above = readings_NF[there_NF][:, None] - readings_NF[gone_NF]
    pairs = weights_NF[there_NF][:, None] * weights_NF[gone_NF]
    area = (pairs * ((above > 0) + (above == 0) / 2)).sum() / pairs.sum() if pairs.sum() else None
    same = means["identity"] or 0.0
    return {
        **means,
        **shares,
        "auc": None if area is None else float(area),
        "composite": None if area is None else float(np.sqrt(max(2 * area - 1, 0.0) * same)),
    }
