"""`curate clinical demo`: chests, masks and a table of records with planted effects; trained."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.clinical.chests import AGES, LUNGS, SMOKING, Planted, chest, dice, segmented
from curate.clinical.config import DemoConfig
from curate.importing.config import ImportConfig
from curate.importing.real_images import import_table
from curate.production.config import GeneratorChoice
from curate.production.images import samples_of
from curate.production.versions import load_version
from curate.samples.formats import encode
from curate.settings import Given
from curate.training.config import FamilyChoice, LessonConfig
from curate.training.train_generator import run_train_generator, training_of
from curate.workspace import Workspace
from db.models import GeneratorVersion
from generators.base import Prompt
from generators.clinical.records import read_field_map
from generators.config import SamplingSettings

UNSEEN = 1_000_000  # the first seed of chests that no demo trains on
Say = Callable[[str], None]
SETTINGS = ("channels=8,16,32", "low=-1000", "high=400")
FIELDS_FILE = """opening = "Chest CT"

[[fields]]
name = "smoking"
kind = "choice"
order = ["never", "current"]
values = { never = "never a smoker", current = "current smoker" }

[[fields]]
name = "age"
kind = "number"
unit = "years"
clause = "{value} years old"
range = [0, 120]

[[fields]]
name = "diagnosis"
kind = "choice"
values = { normal = "no fibrosis", fibrosis = "fibrosis" }

[[fields]]
name = "sex"
kind = "choice"
values = { male = "male", female = "female" }
"""


def _write_demo(folder: Path, config: DemoConfig) -> Path:
    """Write chests as NIfTI, `records.csv`, `fields.toml` and `data.csv`; return the last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fields.toml").write_text(FIELDS_FILE, encoding="utf-8")
    fields = read_field_map(folder / "fields.toml")
    planted = Planted(smoking=config.smoking)
    rows: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for number in range(config.cases):
        case = chest(config.seed * 100_000 + number, config.side, planted)
        (folder / f"{number}.nii.gz").write_bytes(encode(case.image).content)
        (folder / f"{number}-mask.nii.gz").write_bytes(encode(case.mask).content)
        rows.append(
            {
                "path": f"{number}.nii.gz",
                "Text": fields.build(fields.clean(case.record)),
                "modality": "ChestCT",
                "mask": f"{number}-mask.nii.gz",
                "patient": f"chest-{number}",
                "split": "val" if number % 8 == 0 else "train",
            }
        )
        names = ("smoking", "age", "diagnosis", "sex")
        known = {name: case.record.get(name, "") for name in names}
        records.append({"patient": f"chest-{number}", **known})
    for name, several in (("data.csv", rows), ("records.csv", records)):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(several[0]))
            writer.writeheader()
            writer.writerows(several)
    return folder / "data.csv"


def make_demo(ws: Workspace, config: DemoConfig, say: Say) -> GeneratorVersion | None:
    """Write, import and train the demo; return the version, or None where no step was asked for."""
    folder = config.folder or ws.folder / "demo-data"
    table = _write_demo(folder, config)
    records = folder / "records.csv"
    done = import_table(ws, table, ImportConfig(kind="volume", records=records))
    refused = [str(remark) for remark in done.refused]
    say(f"{done.imported} chests imported from {table} ({done.already_there} were there already)")
    for line in refused[:3]:
        say(f"refused: {line}")
    say(
        f"Planted: smoking {SMOKING[0]} -> {SMOKING[1]} {config.smoking:+g} HU on both lungs; age "
        f"{AGES[0]} -> {AGES[1]} -40 HU on the body wall; diagnosis +60 HU on the lungs' lower "
        "third; sex nothing"
    )
    if not config.steps:
        return None
    family = FamilyChoice(
        family=config.family, settings=(*SETTINGS, f"fields={folder / 'fields.toml'}")
    )
    training = training_of(family, Given({"num_steps": config.steps, "seed": config.seed}))
    return run_train_generator(
        ws,
        training,
        LessonConfig(num_samples=4, sample_steps=8),
        choice=GeneratorChoice(),
        family=family,
        replay_prompts=None,
        say=say,
    )


def adherence(
    ws: Workspace, version: GeneratorVersion, config: DemoConfig, count: int = 8
) -> float:
    """Return how well new chests' lungs follow their masks: mean Dice, read off by thresholds."""
    generator = load_version(ws, version.id)
    cases = [chest(UNSEEN + number, config.side) for number in range(count)]
    prompts = [Prompt("ChestCT", "", record=c.record, images={"mask": c.mask}) for c in cases]
    settings = SamplingSettings(num_steps=12, batch_size=count)
    made = samples_of(generator, prompts, range(count), settings)
    overlaps = [
        dice(segmented(one.array[0]), case.mask.array[0], LUNGS)
        for one, case in zip(made, cases, strict=True)
    ]
    return sum(overlaps) / count
