"""Learning something new without losing the old: the embedded generator and a brain atlas.

    python benchmarks/continual.py DATA_FOLDER [--steps 60] [--batch-size 16]

`DATA_FOLDER` holds `data.csv` (path, Text, modality, label, patient, split, source). New are the
slices of the ICBM152 template, which the embedded model never saw; every fourth is held out. Old
are the five modalities that it was trained on, with their own held-out patients. Trained once
without replay and once with old images as half of each step. Prints one JSON object a training.
"""

import argparse
import csv
import json
import re
import tempfile
from pathlib import Path

from curate.importing.config import ImportConfig
from curate.importing.real_images import import_table
from curate.production.config import GeneratorChoice
from curate.training.config import LessonConfig
from curate.training.train_generator import run_train_generator, summary
from curate.workspace import Workspace, init_workspace, open_workspace
from generators.training.config import TrainingConfig
from recipes.embedded_model.data import SHIPPED_SOURCES

NEW = "BrainTemplate"
SLICE = re.compile(r"(axial|coronal|sagittal) slice at (\w) = (-?\d+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    training = TrainingConfig(
        num_steps=options.steps,
        batch_size=options.batch_size,
        micro_batch=options.batch_size,
        learning_rate=3e-4,
        warmup_steps=10,
        ema_decay=0.95,
        validate_every=options.steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        init_workspace(folder)
        with open_workspace(folder) as ws:
            bring_in(ws, options.data, Path(folder))
            for replay in ("none", "images"):
                made = run_train_generator(
                    ws,
                    training,
                    LessonConfig(modalities=(NEW,), replay=replay, replay_share=0.5, num_samples=4),
                    choice=GeneratorChoice(version=first_version(ws)),
                    replay_prompts=None,
                    say=print,
                )
                if made is not None:
                    print(json.dumps({"replay": replay} | summary(made)), flush=True)


def bring_in(ws: Workspace, data: Path, folder: Path) -> None:
    with (data / "data.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    old = [row for row in rows if row["source"] in SHIPPED_SOURCES]
    new = [row for row in rows if row["source"].startswith("ICBM152")]
    for number, row in enumerate(new):
        plane = SLICE.search(row["Text"])
        assert plane is not None
        row |= {
            "modality": NEW,
            "Text": f"T1 template, {plane[1]}, {plane[2]} {plane[3]}",
            "patient": "",  # one head: slices, not patients, are held out
            "split": "val" if number % 4 == 3 else "train",
        }
    table = folder / "both.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        columns = ("path", "Text", "modality", "label", "patient", "split")
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(old + new)
    done = import_table(ws, table, ImportConfig(folder=data, new_modalities=(NEW,)))
    assert done.imported == len(old) + len(new), done.refused[:3]


def first_version(ws: Workspace) -> str:
    from curate.production.versions import embedded_version

    return embedded_version(ws).id


if __name__ == "__main__":
    main()
