"""Survival of groups: Kaplan-Meier, log-rank and Cox. Shapes: N people, T event times, K columns.

Times are in whatever unit the table has; an event is 1, an end of observation without one 0.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from curate.errors import CurateError
from curate.evaluation.intervals import Estimate, normal_quantile
from curate.importing.table import Columns, read_table

COLUMNS = Columns(
    spellings={
        "time": ("time", "survival_time", "days", "months"),
        "event": ("event", "status", "dead", "death"),
        "group": ("group", "label", "arm"),
    },
    needed=("time", "event", "group"),
    free_text="group",
)
MOST_STEPS = 50  # of Newton's method; it needs about five
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SurvivalStep:
    """A Kaplan-Meier curve just after one time of events."""

    time: float
    at_risk: int
    events: int
    survival: Estimate


@dataclass(frozen=True)
class Survival:
    """Groups of a table: a curve each, whether they differ, and each one's hazard."""

    curves: Mapping[str, tuple[SurvivalStep, ...]]
    chi_squared: float
    p_value: float
    hazard_ratios: Mapping[str, Estimate]  # to the first group by name
    refused: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the figures for a person to read."""
        lines = []
        for group, curve in self.curves.items():
            median = next((step.time for step in curve if step.survival.value <= 0.5), None)
            told = "not reached" if median is None else f"{median:g}"
            events = sum(step.events for step in curve)
            lines.append(f"{group}: {curve[0].survival.num} people, {events} events, median {told}")
        reference = next(iter(self.curves))
        lines += [
            f"hazard of {group} to {reference}: {one.value:.2f} ({one.low:.2f} to {one.high:.2f})"
            for group, one in self.hazard_ratios.items()
        ]
        lines.append(
            f"log-rank: chi-squared {self.chi_squared:.2f} on {len(self.curves) - 1} degrees of "
            f"freedom, p {self.p_value:.2g}"
        )
        return lines + [f"Note: {note}" for note in self.refused]


def survival_of(table: Path) -> Survival:
    """Read a table with the columns time, event (0 or 1) and group, and compare its groups.

    Raises CurateError without two groups or without an event in one of them; rows that cannot be
    read are named.
    """
    read = read_table(table, COLUMNS, lambda _: True)
    refused = [str(remark) for remark in read.refused]
    rows: list[tuple[float, int, str]] = []
    for row in read.rows:
        try:
            time, event = float(row.cells["time"]), {"0": 0, "1": 1}[row.cells["event"]]
        except (KeyError, ValueError):
            refused.append(
                f"{table.name}:{row.line}: time is not a number, or event neither 0 nor 1"
            )
            continue
        if not 0 <= time < np.inf:
            refused.append(f"{table.name}:{row.line}: a time of {time:g}")
        elif row.cells["group"]:
            rows.append((time, event, row.cells["group"]))
    groups = sorted({group for _, _, group in rows})
    if len(groups) < 2:
        raise CurateError(f"{table}: {len(groups)} groups; two are needed to compare survival.")
    for group in groups:
        if not any(event for _, event, of in rows if of == group):
            raise CurateError(f"{table}: no event in group {group!r}: its hazard has no value.")
    time_N, event_N = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    of_N = np.array([groups.index(r[2]) for r in rows])
    statistic, p_value = log_rank(time_N, event_N, of_N)
    covariates_NK = np.eye(len(groups))[of_N][:, 1:]
    logs, errors = cox(time_N, event_N, covariates_NK)
    width = normal_quantile(0.95) * errors
    return Survival(
        curves={
            group: tuple(kaplan_meier(time_N[of_N == place], event_N[of_N == place]))
            for place, group in enumerate(groups)
        },
        chi_squared=statistic,
        p_value=p_value,
        hazard_ratios={
            group: Estimate(float(one), float(low), float(high), len(rows))
            for group, one, low, high in zip(
                groups[1:], np.exp(logs), np.exp(logs - width), np.exp(logs + width), strict=True
            )
        },
        refused=tuple(refused),
    )


def kaplan_meier(time_N: NDArray[Any], event_N: NDArray[Any]) -> list[SurvivalStep]:
    """Return the curve (Kaplan & Meier 1958), its intervals by Greenwood on the log-log scale."""
    survival, variance, steps = 1.0, 0.0, []
    z = normal_quantile(0.95)
    for time in np.unique(time_N[event_N == 1]):
        at_risk = int((time_N >= time).sum())
        events = int(((time_N == time) & (event_N == 1)).sum())
        survival *= 1 - events / at_risk
        low, high = 0.0, 0.0
        if survival > 0:
            variance += events / (at_risk * (at_risk - events))
            half = z * np.sqrt(variance) / abs(np.log(survival))
            low, high = (float(survival ** np.exp(sign * half)) for sign in (1, -1))
        steps.append(
            SurvivalStep(float(time), at_risk, events, Estimate(survival, low, high, len(time_N)))
        )
    return steps


def log_rank(
    time_N: NDArray[Any], event_N: NDArray[Any], group_N: NDArray[Any]
) -> tuple[float, float]:
    """Return chi-squared and p of Mantel's test that all groups have one hazard."""
    num_groups = int(group_N.max()) + 1
    excess, covariance = np.zeros(num_groups), np.zeros((num_groups, num_groups))
    for time in np.unique(time_N[event_N == 1]):
        risk = np.bincount(group_N[time_N >= time], minlength=num_groups).astype(float)
        died = np.bincount(group_N[(time_N == time) & (event_N == 1)], minlength=num_groups)
        share, events, total = risk / risk.sum(), died.sum(), risk.sum()
        excess += died - events * share
        if total > 1:
            spread = np.diag(share) - np.outer(share, share)
            covariance += events * (total - events) / (total - 1) * spread
    kept = slice(0, num_groups - 1)  # the last follows from the others
    statistic = float(excess[kept] @ np.linalg.pinv(covariance[kept, kept]) @ excess[kept])
    return statistic, float(chi2.sf(statistic, num_groups - 1))


def cox(
    time_N: NDArray[Any], event_N: NDArray[Any], covariates_NK: Floats
) -> tuple[Floats, Floats]:
    """Return log hazard ratios [K] and standard errors [K], ties as Efron 1977 (JASA 72:557)."""
    beta: Floats = np.zeros(covariates_NK.shape[1])
    for _ in range(MOST_STEPS):
        score, information = np.zeros(len(beta)), np.zeros((len(beta), len(beta)))
        hazard_N = np.exp(covariates_NK @ beta)
        for time in np.unique(time_N[event_N == 1]):
            risk, died = time_N >= time, (time_N == time) & (event_N == 1)
            score += covariates_NK[died].sum(0)
            for share in np.arange(died.sum()) / died.sum():
                weight_N = hazard_N * (risk - share * died)
                mean = weight_N @ covariates_NK / weight_N.sum()
                squares = (covariates_NK.T * weight_N) @ covariates_NK / weight_N.sum()
                score -= mean
                information += squares - np.outer(mean, mean)
        step = np.linalg.pinv(information) @ score
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    return beta, np.sqrt(np.diag(np.linalg.pinv(information)))
