"""Edits read by the user's own judges, as BiomedJourney measured: findings, attributes, CMIG.

Findings of a made image are held against the follow-up's report, attributes against what is true
of the patient. Shapes: N images, K findings, L labels of an attribute, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.evaluation.config import EditsConfig
from curate.evaluation.edit_figures import (
    PRESENT,
    EditFigures,
    Figures,
    Weights,
    label_divergence,
    over_patients,
    table_lines,
    weighted_auc,
)
from curate.importing.table import Columns, read_table
from curate.journeys.findings import Statements, finding_named, state_of
from rewards.errors import RewardError
from rewards.own_judge import OwnJudge, load_own_judge

MOST_COMMON = 5  # findings in the pathology AUC, as BiomedJourney has it
FEWEST = 2  # images of each kind, for an AUC of a finding
BATCH = 32
PATIENT = ("patient", "patient_id", "subject_id", "deid_patient_id", "patientid")
NOT_NAMED = (
    "pathology AUC, race AUC, age r, CMIG: not measured, no judge is named "
    "(--findings MODEL --attributes age=MODEL,race=MODEL --attributes-of TABLE)"
)
Grey = NDArray[np.float64]
Finding = tuple[str, str | None]  # and its side


@dataclass(frozen=True)
class ImagesToJudge:
    """A row's images, whose they are, and what their reports say."""

    images: Sequence[Grey]  # 0 .. 1
    patients: Sequence[str]
    said: Sequence[Statements]


@dataclass(frozen=True)
class OwnJudges:
    """The judges that a user named, and what is true of the patients."""

    findings: OwnJudge | None
    attributes: Mapping[str, OwnJudge]
    people: Mapping[str, Mapping[str, str]]  # {patient: {attribute: what is true}}

    @property
    def columns(self) -> dict[str, str]:
        """Return the table's columns, key and head."""
        kinds = {"number": "r", "classes": "AUC", "findings": "AUC"}
        attributes = {name: f"{name} {kinds[own.kind]}" for name, own in self.attributes.items()}
        return {"pathology": "pathology AUC", **attributes, "cmig": "CMIG", "kl": "KL of labels"}

    def lines(self) -> list[str]:
        """Return who judges, and what the figures are."""
        lines = [f"{name} by {own.name}" for name, own in self.attributes.items()]
        if self.findings is None:
            lines.insert(0, "findings by nobody: pathology AUC and CMIG need --findings MODEL")
        else:
            _, aside = self.placed()
            left = f" (left aside, none of the 14: {', '.join(aside)})" if aside else ""
            lines.insert(0, f"findings by {self.findings.name}{left}")
        return [
            "; ".join(lines),
            f"pathology AUC: mean over the (at most {MOST_COMMON}) commonest findings of the "
            "follow-ups' reports; what a report does not speak of is absent, what it leaves open "
            "is left out",
            "CMIG = sqrt(pathology AUC x geometric mean of "
            f"{' and '.join(self.columns[name] for name in self.attributes) or 'attributes'}); "
            "a negative r counts as 0",
            "KL of labels: of the findings read from those that the same judge reads in the real "
            "follow-ups, in nats; judges err: what they read of real films is in the last rows",
        ]

    def truths(self, patients: Sequence[str], attribute: str) -> NDArray[np.float64]:
        """Return numbers [N], or the places of classes among the judge's; NaN where unknown."""
        own, found = self.attributes[attribute], []
        labels = [label.lower() for label in own.labels]
        for patient in patients:
            told = self.people.get(patient, {}).get(attribute, "").lower()
            if own.kind == "number":
                found.append(float(told or "nan"))
            else:
                found.append(float(labels.index(told)) if told in labels else np.nan)
        return np.array(found)

    def findings_in(self, images: Sequence[Grey]) -> NDArray[np.float64]:
        """Return what is read of each finding [N, K]: the largest of the outputs that mean it."""
        places, _ = self.placed()
        if self.findings is None or not places:
            return np.zeros((len(images), 0))
        read_NL = _read(self.findings, images)
        return np.stack([read_NL[:, own].max(1) for own in places.values()], axis=1)

    def placed(self) -> tuple[dict[Finding, list[int]], list[str]]:
        """Return which outputs mean which finding, and labels that mean none of them."""
        places: dict[Finding, list[int]] = {}
        aside = []
        for place, label in enumerate(self.findings.labels if self.findings else ()):
            finding = finding_named(label)
            if finding is None:
                aside.append(label)
            else:
                places.setdefault(finding, []).append(place)
        return places, aside


def own_judges(config: EditsConfig) -> OwnJudges | None:
    """Return the judges that are named; None without any. Raises CurateError for what is amiss."""
    if config.findings is None and config.attributes is None:
        return None
    try:
        findings = load_own_judge(config.findings) if config.findings else None
        attributes = {
            name: load_own_judge(model) for name, model in _named(config.attributes).items()
        }
    except RewardError as error:
        raise CurateError(str(error)) from error
    if findings is not None and findings.kind != "findings":
        raise CurateError(
            f"{findings.name} tells classes that exclude each other, or a number: --findings needs "
            "probabilities of each finding (transformers: problem_type "
            "multi_label_classification)."
        )
    for name, own in attributes.items():
        if own.kind == "findings" and len(own.labels) != 1:
            raise CurateError(
                f"{own.name} reads {len(own.labels)} findings; --attributes {name}= needs classes "
                "or one number."
            )
    people = _people(config.attributes_of, attributes) if attributes else {}
    return OwnJudges(findings, attributes, people)


def _named(attributes: str | None) -> dict[str, str]:
    """Return {attribute: model} of "age=MODEL,race=MODEL"."""
    named: dict[str, str] = {}
    for part in filter(None, (attributes or "").split(",")):
        name, equals, model = (piece.strip() for piece in part.partition("="))
        if not (name and equals and model) or name in named:
            raise CurateError(f"--attributes {attributes}: write age=MODEL,race=MODEL, each once.")
        named[name] = model
    return named


def _people(path: Path | None, attributes: Mapping[str, OwnJudge]) -> dict[str, dict[str, str]]:
    """Return what a table says of each patient. Raises CurateError for what cannot be true."""
    if path is None:
        raise CurateError(
            "--attributes needs --attributes-of TABLE: a CSV with the columns patient, "
            f"{', '.join(attributes)}, which says what is true of the patients."
        )
    spellings = {"patient": PATIENT, **{name: (name.lower(),) for name in attributes}}
    columns = Columns(
        spellings=spellings,
        needed=tuple(spellings),
        free_text="patient",
        in_words=tuple(attributes),
    )
    table, people = read_table(path, columns, lambda _: False), dict[str, dict[str, str]]()
    for row in table.rows:
        told = {name: row.cells.get(name, "") for name in attributes}
        for name, own in attributes.items():
            if own.kind == "number" and told[name]:
                try:
                    float(told[name])
                except ValueError as error:
                    raise CurateError(
                        f"{path.name}:{row.line}: {name} {told[name]!r} is not a number, and "
                        f"{own.name} reads one."
                    ) from error
        if people.setdefault(row.cells["patient"], told) != told:
            raise CurateError(
                f"{path.name}:{row.line}: patient {row.cells['patient']} is there twice, "
                "with different values."
            )
    return people


@dataclass(frozen=True)
class JudgedEdits:
    """What own judges say of each row, and of which findings the pathology AUC is the mean."""

    judges: OwnJudges
    commonest: tuple[Finding, ...]
    known: Mapping[str, int]  # patients whose attribute is known, of those with edits
    rows: Mapping[str, EditFigures]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "judges": self.judges.lines(),
            "known": dict(self.known),
            "findings": [in_words(finding) for finding in self.commonest],
            "rows": {name: figures.to_json() for name, figures in self.rows.items()},
        }

    def lines(self) -> list[str]:
        """Return the table, its parts, and what the columns mean."""
        parts = {f"{in_words(one)} AUC": in_words(one) for one in self.commonest}
        lines = ["", "factual, read by your judges", *table_lines(self.judges.columns, self.rows)]
        if parts:
            lines += ["", "parts of the pathology AUC", *table_lines(parts, self.rows)]
        known = [f"{name} is known of {count} patients" for name, count in self.known.items()]
        return [*lines, "", *self.judges.lines(), *known]


def in_words(finding: Finding) -> str:
    """Return a finding's name: "right pleural effusion"."""
    return " ".join(filter(None, reversed(finding)))


def judged_edits(
    judges: OwnJudges, made: Mapping[str, ImagesToJudge], follow_up: str
) -> JudgedEdits:
    """Return what the judges say of each row; `follow_up` names that of the real next films.

    Rows of the follow-up's cases are compared with it; a row of other films is only judged.
    """
    real, places = made[follow_up], judges.placed()[0]
    states = {
        one: _states(real.said, [one])[:, 0].tolist()  # nan: left open
        for one in places
    }
    both = [one for one in places if min(states[one].count(x) for x in (0, 1)) >= FEWEST]
    commonest = tuple(sorted(both, key=lambda one: -states[one].count(1))[:MOST_COMMON])
    real_NK = judges.findings_in(real.images)
    rows = {}
    for name, row in made.items():
        read = RowRead(
            judges=judges,
            read_NK=judges.findings_in(row.images),
            states_NK=_states(row.said, list(places)),
            attributes={
                key: (_read(own, row.images), judges.truths(row.patients, key))
                for key, own in judges.attributes.items()
            },
            real_NK=real_NK if row.said is real.said else None,
            parts={in_words(one): list(places).index(one) for one in commonest},
        )
        rows[name] = EditFigures(len(row.images), over_patients(row.patients, read.figures))
    known = {
        name: int(np.isfinite(judges.truths(sorted(set(real.patients)), name)).sum())
        for name in judges.attributes
    }
    return JudgedEdits(judges, commonest, known, rows)


def _read(own: OwnJudge, images: Sequence[Grey]) -> NDArray[np.float64]:
    """Return what a judge says of grey images [H, W], each read at its own size: [N, L]."""
    read = []
    for start in range(0, len(images), BATCH):
        some = images[start : start + BATCH]
        if len({image.shape for image in some}) == 1:
            together = [np.stack(some)]
        else:
            together = [image[None] for image in some]
        for part in together:
            grey_BHW = torch.from_numpy(np.ascontiguousarray(part)).float()
            read.append(own.readings(grey_BHW[:, None].expand(-1, 3, -1, -1)).numpy())
    return np.concatenate(read)


def _states(said: Sequence[Statements], findings: Sequence[Finding]) -> NDArray[np.float64]:
    """Return 1 where a report has a finding, 0 where it has not, NaN where it is open: [N, K]."""
    states = [[state_of(report, *one) for one in findings] for report in said]
    as_number = {True: 1.0, False: 0.0, None: np.nan}
    values = [[as_number[state] for state in of_report] for of_report in states]
    return np.array(values).reshape(len(said), len(findings))


@dataclass(frozen=True)
class RowRead:
    """What the judges read of a row's images, and what is true."""

    judges: OwnJudges
    read_NK: NDArray[np.float64]
    states_NK: NDArray[np.float64]  # 1 there, 0 not, NaN open
    attributes: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]  # read, true
    real_NK: NDArray[np.float64] | None  # of the real follow-ups, in the same order
    parts: Mapping[str, int]  # of the pathology AUC: findings and their columns

    def figures(self, weights_N: Weights) -> Figures:
        """Return each column, and the parts of the pathology AUC."""
        parts = {}
        for name, place in self.parts.items():
            states_N = self.states_NK[:, place]
            known = np.isfinite(states_N)
            read_N, weights = self.read_NK[known, place], weights_N[known]
            parts[f"{name} AUC"] = weighted_auc(read_N, states_N[known] == 1, weights)
        areas = [area for area in parts.values() if area is not None]
        pathology = float(np.mean(areas)) if areas else None
        held = {name: self.attribute(name, weights_N) for name in self.attributes}
        whole = [max(value, 0.0) for value in held.values() if value is not None]
        cmig = None
        if pathology is not None and whole and len(whole) == len(held):
            cmig = float(np.sqrt(pathology * np.prod(whole) ** (1 / len(whole))))
        divergence = None
        if self.real_NK is not None and self.read_NK.shape[1]:
            divergence = label_divergence(self.real_NK > PRESENT, self.read_NK > PRESENT, weights_N)
        return {"pathology": pathology, **held, "cmig": cmig, "kl": divergence, **parts}

    def attribute(self, name: str, weights_N: Weights) -> float | None:
        """Return a number's correlation with the truth (Pearson's r), or classes' mean AUC."""
        own, (read_NL, true_N) = self.judges.attributes[name], self.attributes[name]
        counted = np.isfinite(true_N) & (weights_N > 0)
        read_NL, true_N, weights = read_NL[counted], true_N[counted], weights_N[counted]
        if own.kind == "number":
            pair = np.stack([read_NL[:, 0], true_N])
            if pair.shape[1] < 2 or (np.ptp(pair, axis=1) == 0).any():
                return None  # one of them is the same everywhere
            matrix = np.cov(pair, aweights=weights, ddof=0)
            return float(matrix[0, 1] / np.sqrt(matrix[0, 0] * matrix[1, 1]))
        areas = [
            weighted_auc(read_NL[:, place], true_N == place, weights)
            for place in range(len(own.labels))
        ]
        given = [area for area in areas if area is not None]
        return float(np.mean(given)) if given else None
