"""Do synthetic images help a network that learns without labels? A probe of real ones decides.

Shapes: N images, D features.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from curate.evaluation.classifiers import LINEAR, ClassExamples, Classifier, pixels_of
from curate.evaluation.config import SelfSupervisedConfig
from curate.evaluation.kept import kept, key_of
from curate.evaluation.utility import (
    Arm,
    Task,
    Utility,
    classified,
    numbers_of,
    tasks_of,
    utility_table,
)
from curate.evaluation.utility_sides import UtilitySides
from curate.progress import ShowProgress
from rewards.self_supervised import encoded, learn_without_labels, new_encoder

UNTRAINED, REAL = "untrained features", "learned from real images"


def measure_self_supervision(
    sides: UtilitySides, config: SelfSupervisedConfig, progress: ShowProgress
) -> Utility:
    """Train a network for each arm and draw; what was done before a stop is not done again.

    Gains are over features learned from the real images alone, at equally many steps.
    """
    pixels = [pixels_of(one) for one in (sides.train, sides.test, *sides.sets)]
    pools: dict[str, Tensor | None] = {REAL: pixels[0], UNTRAINED: None}
    for one, made in zip(sides.sets, pixels[2:], strict=True):
        pools[f"{REAL} and {one.name}"] = torch.cat([pixels[0], made])
        pools[f"learned from {one.name} alone"] = made
    tasks, left_out = tasks_of(pixels, sides, config.task)
    key = [*asdict(config).items(), *sides.identity]
    told: dict[Arm, list[list[dict[str, Any]]]] = {}
    per_class = numbers_of(config.per_class)
    with progress(len(pools) * config.draws, "arms and draws") as advance:
        for name, draw in product(pools, range(config.draws)):
            cells = kept(
                sides.train.cache,
                key_of(["self-supervised", *key, name, draw]),
                partial(_probed, pools[name], tasks, config, per_class, draw),
            )
            for num, of_tasks in zip(per_class, cells, strict=True):
                arm = Arm(num, 0, "", REAL) if name == REAL else Arm(num, 0, name)
                told.setdefault(arm, []).append(of_tasks)
            advance(1)
    model = f"{config.model} without labels ({config.steps} steps), probe, {config.draws} draws"
    return utility_table(model, tasks, told, (*left_out, *sides.notes))


def _probed(
    pool_N3HW: Tensor | None,
    tasks: Sequence[Task],
    config: SelfSupervisedConfig,
    per_class: Sequence[int],
    draw: int,
) -> list[list[dict[str, Any]]]:
    """Train on a pool (None: leave the network as it is) and probe it with so many a class."""
    encoder = new_encoder(config.model, seed=draw)
    if pool_N3HW is not None:
        learn_without_labels(encoder, pool_N3HW, steps=config.steps, seed=draw)

    def seen(examples: ClassExamples) -> ClassExamples:
        return ClassExamples(encoded(encoder, examples.inputs), examples.classes_N)

    probed = [replace(one, train=seen(one.train), test=seen(one.test), made={}) for one in tasks]
    probe = Classifier(LINEAR)
    return [classified(probe, probed, Arm(num, 0, ""), draw) for num in per_class]
