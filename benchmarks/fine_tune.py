"""Does a fine-tuning on real patients carry over to patients that it never saw?

    python benchmarks/fine_tune.py DATA_FOLDER [--steps 150] [--batch-size 16]

`DATA_FOLDER` holds `data.csv` (path, Text, modality, label, patient, split, source) of real images,
split by patient. The embedded model has seen centre squares only; here it learns whole, uncropped
images (`--fit pad`), once with all its weights and once with adapters (LoRA, rank 16, attention
and convolutions). Prints the validation loss of the held-out patients on the way, and for every
modality its change with a 95 % interval.
"""

import argparse
import csv
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from curate.importing.config import ImportConfig
from curate.importing.real_images import import_table
from curate.production.config import GeneratorChoice
from curate.production.versions import embedded_version
from curate.training.config import LessonConfig
from curate.training.train_generator import run_train_generator, summary
from curate.workspace import Workspace, init_workspace, open_workspace
from db.models import GeneratorVersion
from generators.training.config import TrainingConfig
from recipes.embedded_model.data import SHIPPED_SOURCES

LOOKS = 4  # validations on the way


def trainings(steps: int, batch_size: int) -> dict[str, TrainingConfig]:
    """Return both ways to learn, each at a rate that suits it."""
    full = TrainingConfig(
        num_steps=steps,
        batch_size=batch_size,
        micro_batch=batch_size,
        learning_rate=2e-4,
        warmup_steps=10,
        ema_decay=0.95,
        validate_every=max(1, steps // LOOKS),
        validation_noises=2,
    )
    adapters = replace(
        full, learning_rate=1e-3, lora_rank=16, lora_targets="attention+convolutions"
    )
    return {"full weights": full, "LoRA, rank 16": adapters}


def bring_in(ws: Workspace, data: Path, folder: Path) -> None:
    """Import the patients whose other squares the embedded model knows."""
    with (data / "data.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] in SHIPPED_SOURCES]
    table = folder / "patients.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        columns = ("path", "Text", "modality", "label", "patient", "split")
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    done = import_table(ws, table, ImportConfig(folder=data))
    assert done.imported == len(rows), done.refused[:3]


def show(name: str, version: GeneratorVersion) -> None:
    print(f"\n{name}: mean validation loss over modalities, by step")
    for validation in version.metrics["validations"]:
        losses = [loss for group, loss in validation.items() if group != "step"]
        print(f"  {validation['step']:>5}  {sum(losses) / len(losses):.4f}")
    print(json.dumps(summary(version)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        init_workspace(folder)
        with open_workspace(folder) as ws:
            bring_in(ws, options.data, Path(folder))
            for name, training in trainings(options.steps, options.batch_size).items():
                made = run_train_generator(
                    ws,
                    training,
                    LessonConfig(fit="pad", num_samples=0),
                    choice=GeneratorChoice(version=embedded_version(ws).id),
                    replay_prompts=None,
                    say=print,
                )
                if made is not None:
                    show(name, made)


if __name__ == "__main__":
    main()
