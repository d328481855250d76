"""Does a synthetic set help a classifier of real images? Arms, draws and paired intervals.

Shapes: N examples, D draws, R resamples, P test patients of a class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor

from curate.errors import CurateError
from curate.evaluation.classifiers import LINEAR, ClassExamples, Classifier
from curate.evaluation.config import UtilityConfig
from curate.evaluation.intervals import Estimate
from curate.evaluation.kept import kept, key_of
from curate.evaluation.label_classifier import patient_of
from curate.evaluation.sets import ImageSet
from curate.evaluation.utility_sides import UtilitySides
from curate.progress import ShowProgress
from rewards.backbones import Backbone

RESAMPLES = 2000
REAL_ONLY, COPIES = "real only", "copies of the real ones"
CHECKED, WEIGHTED, FIRST, ONLY = "label-checked", "weighted 1:1", "learned first", "synthetic only"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Labels that are told apart: images of one task in every set, as inputs and class numbers."""

    name: str
    labels: tuple[str, ...]
    train: ClassExamples
    test: ClassExamples
    patients: tuple[str, ...]  # of the test images
    made: Mapping[str, ClassExamples]  # by the set's name


@dataclass(frozen=True, order=True)
class Arm:
    """What a classifier learns from: real images a class, synthetic ones as a multiple of them.

    Without a ratio `of` says what else sets it apart from real images alone.
    """

    per_class: int  # 0: all there are
    ratio: int  # 0: real only, or synthetic only where `how` says so
    of: str  # a set's name, or "copies"; empty: real only
    how: str = ""  # "label-checked", "weighted 1:1", "first" or "synthetic only"

    def __str__(self) -> str:
        real = f"{self.per_class or 'all'} real a class"
        if not self.ratio and self.how != ONLY:
            return f"{real}: {self.of or self.how or REAL_ONLY}"
        if self.how == ONLY:
            return f"{self.of}: synthetic only"
        return f"{real} + {self.ratio}x {self.of}{', ' if self.how else ''}{self.how}"


@dataclass(frozen=True)
class Outcome:
    """An arm's figures, and its gain over real images alone where that can be told."""

    arm: Arm
    accuracy: Estimate  # balanced, mean of the tasks
    macro_f1: float
    auc: float
    gain: Estimate | None
    num_synthetic: float  # a task and draw, mean


@dataclass(frozen=True)
class Utility:
    """A table of arms and of differences between sets."""

    model: str
    tasks: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    differences: tuple[tuple[str, str, Estimate], ...]  # arm, minus arm, paired
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "tasks": list(self.tasks),
            "arms": [{**asdict(one), "arm": str(one.arm)} for one in self.outcomes],
            "differences": [
                {"arm": arm, "minus": other, **asdict(estimate)}
                for arm, other, estimate in self.differences
            ],
            "notes": list(self.notes),
        }

    def lines(self, ways: Sequence[str] | None = None) -> list[str]:
        """Return the table for a person to read; `ways`: only arms that learn in one of them."""
        lines = [
            f"{self.model}; balanced accuracy, mean of {len(self.tasks)} tasks "
            f"({', '.join(self.tasks)}); 95 % intervals over draws and test patients"
        ]
        for one in self.outcomes:
            if ways is not None and one.arm.how not in ways:
                continue
            gain = "" if one.gain is None else f"   gain {_points(one.gain)}"
            lines.append(
                f"  {one.arm!s:<62} {_percent(one.accuracy)}  F1 {100 * one.macro_f1:.1f}  "
                f"AUC {one.auc:.3f}  {one.num_synthetic:.0f} synthetic{gain}"
            )
        if ways is None:
            lines += [f"  {a} minus {b}: {_points(e)}" for a, b, e in self.differences]
        return lines + [f"Note: {note}" for note in self.notes]


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"


def _points(one: Estimate) -> str:
    star = " *" if one.excludes_zero() else ""
    return f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f}){star}"


def measure_utility(
    sides: UtilitySides, backbone: Backbone, config: UtilityConfig, progress: ShowProgress
) -> Utility:
    """Train a classifier for each arm and draw; what was done before a stop is not done again."""
    classifier = Classifier(config.model, config.steps)
    inputs = [classifier.inputs(one, backbone) for one in (sides.train, sides.test, *sides.sets)]
    tasks, left_out = tasks_of(inputs, sides, config.task)
    arms = _arms_of(classifier, sides.sets, config)
    key = [config.model, config.steps, config.task, backbone.fingerprint, *sides.identity]
    told: dict[Arm, list[list[dict[str, Any]]]] = {arm: [] for arm in arms}
    with progress(len(arms) * config.draws, "arms and draws") as advance:
        for arm, draw in product(arms, range(config.draws)):
            make = partial(classified, classifier, tasks, arm, draw)
            told[arm].append(kept(sides.train.cache, key_of([*key, asdict(arm), draw]), make))
            advance(1)
    name = f"{classifier.name} classifier, {config.draws} draws, {backbone.name}"
    return utility_table(name, tasks, told, (*left_out, *sides.notes))


def utility_table(
    model: str,
    tasks: Sequence[Task],
    told: Mapping[Arm, list[list[dict[str, Any]]]],
    notes: Sequence[str],
) -> Utility:
    """Return the figures of what each arm's classifiers said in each draw, of each task."""
    arms = list(told)
    draws = len(told[arms[0]])
    first = next((arm.of for arm in arms if arm.of not in ("", COPIES)), None)
    resampling = Resampling(tasks, draws)
    resampled = {arm: resampling.accuracies(told[arm]) for arm in arms}
    base = {arm.per_class: arm for arm in arms if not arm.of}
    outcomes = []
    for arm in arms:
        cells = [task for draw in told[arm] for task in draw]
        f1, auc, num = (
            float(np.mean([cell[name] for cell in cells]))
            for name in ("f1", "auc", "num_synthetic")
        )
        alone = base.get(arm.per_class) if arm.of and arm.how != ONLY else None
        gain = None if alone is None else percentiles(resampled[arm] - resampled[alone])
        outcomes.append(Outcome(arm, percentiles(resampled[arm]), f1, auc, gain, num))
    plain = [arm for arm in arms if arm.of == first and arm.how == "" and arm.ratio]
    pairs = [
        (arm, other)
        for other in plain
        for arm in arms
        if (arm.per_class, arm.ratio) == (other.per_class, other.ratio)
        and arm.of not in ("", COPIES)
        and arm != other
    ]
    return Utility(
        model=model,
        tasks=tuple(task.name for task in tasks),
        outcomes=tuple(outcomes),
        differences=tuple(
            (str(arm), str(other), percentiles(resampled[arm] - resampled[other]))
            for arm, other in pairs
        ),
        notes=tuple(notes),
    )


def tasks_of(
    inputs: Sequence[Tensor], of: UtilitySides, column: str
) -> tuple[list[Task], list[str]]:
    """Return what can be learned, a task for each value of `column`, and what was left out.

    `inputs` are the training images', the test images' and each set's. A label counts that both
    real sides have; a task needs two. Synthetic images go by modality and label. Raises
    CurateError where no task is left.
    """
    sides, sets = (of.train, of.test), of.sets
    found: list[Task] = []
    notes: list[str] = []
    names = [
        [i.modality if column == "modality" else i.groups.get(column, "") for i in side.images]
        for side in sides
    ]
    for name in sorted(set(names[0])):
        own = [
            [at for at, its in enumerate(of_side) if its == name and side.images[at].label]
            for of_side, side in zip(names, sides, strict=True)
        ]
        known, asked = (
            {side.images[at].label or "" for at in places}
            for places, side in zip(own, sides, strict=True)
        )
        labels = tuple(sorted(known & asked))
        notes += [f"{name} {label}: no test image" for label in sorted(known - asked)]
        notes += [f"{name} {label}: no real training image" for label in sorted(asked - known)]
        if len(labels) < 2:
            notes.append(f"task {name}: {len(labels)} labels on both sides, two are needed")
            continue
        modalities = {sides[0].images[at].modality for at in own[0]}
        everything = [
            *own,
            *([n for n, i in enumerate(one.images) if i.modality in modalities] for one in sets),
        ]
        examples = []
        for one, places, its_inputs in zip((*sides, *sets), everything, inputs, strict=True):
            kept_places = [at for at in places if one.images[at].label in labels]
            classes = [labels.index(one.images[at].label or "") for at in kept_places]
            examples.append(
                ClassExamples(its_inputs[kept_places], torch.tensor(classes, dtype=torch.long))
            )
        test_places = [at for at in own[1] if sides[1].images[at].label in labels]
        patients = tuple(patient_of(sides[1].images[at]) for at in test_places)
        made = {one.name: of_set for one, of_set in zip(sets, examples[2:], strict=True)}
        for set_name, of_set in made.items():
            counts = torch.bincount(of_set.classes_N, minlength=len(labels)).tolist()
            notes += [
                f"{set_name}, {name} {label}: {count} synthetic images"
                for label, count in zip(labels, counts, strict=True)
                if count < 2
            ]
        found.append(Task(name, labels, examples[0], examples[1], patients, made))
    if not found:
        raise CurateError(f"No task to learn: {'; '.join(notes) or 'no labels'}.")
    return found, notes


def numbers_of(text: str) -> tuple[int, ...]:
    """Read "5,10,all" as (5, 10, 0): 0 stands for all."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part == "all" or (part.isdecimal() and len(part) < 10) for part in parts):
        raise CurateError(f"{text!r}: give whole numbers with commas between them, as in 1,5.")
    return tuple(dict.fromkeys(0 if part == "all" else int(part) for part in parts))


def _arms_of(classifier: Classifier, sets: Sequence[ImageSet], config: UtilityConfig) -> list[Arm]:
    """Return every arm: real only, the control of copies, and each set in each way."""
    arms = [Arm(0, 0, one.name, ONLY) for one in sets]
    ways = ["", CHECKED, WEIGHTED, *([] if classifier.name == LINEAR else [FIRST])]
    for per_class in numbers_of(config.per_class):
        arms.append(Arm(per_class, 0, ""))
        for ratio in (some for some in numbers_of(config.ratios) if some > 0):
            arms.append(Arm(per_class, ratio, COPIES))
            arms += [Arm(per_class, ratio, one.name, how) for one in sets for how in ways]
    return arms


def classified(
    classifier: Classifier, tasks: Sequence[Task], arm: Arm, draw: int
) -> list[dict[str, Any]]:
    """Train one arm's classifiers and return of each task what they say of the test images."""
    told = []
    for task in tasks:
        random = torch.Generator().manual_seed(1000 * draw + 7)  # one draw of real images an arm
        real = _drawn(task.train, arm.per_class, len(task.labels), random)
        made = _synthetic(classifier, task, arm, real, random)
        if arm.how == ONLY:
            learned = made
        elif arm.how == FIRST:
            learned = real
        else:
            weights_N = torch.ones(len(real.classes_N) + len(made.classes_N))
            if arm.how == WEIGHTED:
                for label in range(len(task.labels)):
                    own, num = made.classes_N == label, int((real.classes_N == label).sum())
                    weights_N[len(real.classes_N) :][own] = num / max(1, int(own.sum()))
            inputs = torch.cat([real.inputs, made.inputs])
            classes_N = torch.cat([real.classes_N, made.classes_N])
            learned = ClassExamples(inputs, classes_N, weights_N)
        first = made if arm.how == FIRST and len(made.classes_N) else None
        predict = classifier.fit(learned, len(task.labels), seed=draw, first=first)
        probabilities_NC = predict(task.test.inputs).double()
        said_N, asked_N = probabilities_NC.argmax(1).numpy(), task.test.classes_N.numpy()
        told.append(
            {
                "right": (said_N == asked_N).astype(int).tolist(),
                "f1": float(f1_score(asked_N, said_N, average="macro")),
                "auc": _mean_auc(asked_N, probabilities_NC.numpy()),
                "num_synthetic": len(made.classes_N),
            }
        )
    return told


def _mean_auc(asked_N: NDArray[Any], probabilities_NC: Floats) -> float:
    """Return the mean over labels of the AUC of each against the rest."""
    return float(
        np.mean([roc_auc_score(asked_N == c, p) for c, p in enumerate(probabilities_NC.T)])
    )


def _synthetic(
    classifier: Classifier, task: Task, arm: Arm, real: ClassExamples, random: torch.Generator
) -> ClassExamples:
    """Return an arm's synthetic images: `ratio` times the real ones of each class, or all."""
    if not arm.of:
        return ClassExamples(real.inputs[:0], real.classes_N[:0])
    if arm.of == COPIES:
        times = [arm.ratio] + [1] * (real.inputs.ndim - 1)
        return ClassExamples(real.inputs.repeat(*times), real.classes_N.repeat(arm.ratio))
    pool = task.made[arm.of]
    if arm.how == ONLY:
        return pool
    if arm.how == CHECKED and len(pool.classes_N):  # by a probe of this arm's own real images
        read_N = classifier.fit(real, len(task.labels), seed=0)(pool.inputs).argmax(1)
        agreed = read_N == pool.classes_N
        pool = ClassExamples(pool.inputs[agreed], pool.classes_N[agreed])
    counts = torch.bincount(real.classes_N, minlength=len(task.labels)) * arm.ratio
    return _drawn(pool, counts.tolist(), len(task.labels), random)


def _drawn(
    examples: ClassExamples,
    per_class: int | Sequence[int],
    num_classes: int,
    random: torch.Generator,
) -> ClassExamples:
    """Return so many of each class by lot, or as many as there are; all for 0."""
    chosen = []
    for label in range(num_classes):
        wanted = per_class if isinstance(per_class, int) else per_class[label]
        own = (examples.classes_N == label).nonzero().flatten()
        order = torch.randperm(len(own), generator=random)
        chosen.append(own[order[: wanted or len(own)]])
    places = torch.cat(chosen)
    return ClassExamples(examples.inputs[places], examples.classes_N[places])


class Resampling:
    """Draws and test patients drawn together, the same ones for every arm: differences are paired.

    Over draws alone an interval has no width where all real images are learned from.
    """

    def __init__(self, tasks: Sequence[Task], num_draws: int, *, seed: int = 0) -> None:
        """Draw the weights: of the draws [R, D], and of each class's patients [R, P]."""
        random = np.random.default_rng(seed)
        even = np.full(num_draws, 1 / num_draws)
        self.draws_RD = random.multinomial(num_draws, even, RESAMPLES) / num_draws
        self.draws_RD[0] = even  # the first is the figure itself
        self.classes: list[tuple[int, NDArray[np.int64], Floats, Floats]] = []
        for number, task in enumerate(tasks):
            for label in range(len(task.labels)):
                places = np.flatnonzero(task.test.classes_N.numpy() == label)
                owners, of = np.unique([task.patients[at] for at in places], return_inverse=True)
                member_NP = np.eye(len(owners))[of]
                patients_RP = random.multinomial(
                    len(owners), np.full(len(owners), 1 / len(owners)), RESAMPLES
                ).astype(float)
                patients_RP[0] = 1
                self.classes.append((number, places, member_NP, patients_RP))
        self.num_tasks = len(tasks)

    def accuracies(self, told: Sequence[Sequence[Mapping[str, Any]]]) -> Floats:
        """Return the balanced accuracy of each resample [R], the mean of the tasks."""
        of_tasks: list[list[Floats]] = [[] for _ in range(self.num_tasks)]
        for number, places, member_NP, patients_RP in self.classes:
            right_DN = np.array([draw[number]["right"] for draw in told], float)[:, places]
            hits_RD = patients_RP @ (right_DN @ member_NP).T
            shares_RD = hits_RD / (patients_RP @ member_NP.sum(0))[:, None]
            of_tasks[number].append((shares_RD * self.draws_RD).sum(1))
        means: Floats = np.mean([np.mean(classes, axis=0) for classes in of_tasks], axis=0)
        return means


def percentiles(resampled_R: Floats) -> Estimate:
    """Return a figure and its 95 % interval: the first is of all, the others of resamples."""
    low, high = np.quantile(resampled_R[1:], [0.025, 0.975])
    return Estimate(float(resampled_R[0]), float(low), float(high), len(resampled_R) - 1)
