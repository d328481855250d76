"""The same patients in four layouts, with dirt planted among them whose places are known."""

import csv
import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from curate.journeys.phantoms import patients
from curate.samples.pixels import pixels_hash

SIDE = 24
START = dt.date(2001, 3, 1)


@dataclass(frozen=True)
class Shot:
    """One film to write; `dirt` says what is wrong with it."""

    patient: int
    study: int  # random, and never in time order
    day: int
    pixels: Any
    impression: str = "No acute cardiopulmonary process."
    time: str = "101500"
    view: str = "PA"
    area: int = SIDE * SIDE
    sex: str = "F"
    date: str | None = None  # as written, where it is no date
    dirt: str | None = None
    lost: bool = False  # its file is not written


@dataclass
class Plan:
    """All films, and the pairs that a right import finds: {(prior's pixels, new one's)}."""

    shots: list[Shot] = field(default_factory=list)
    pairs: set[tuple[str, str]] = field(default_factory=set)


def plan(count: int = 24) -> Plan:
    """Return clean patients with dirt among and beside them."""
    made = Plan()
    for patient in patients(count, seed=3):
        number = 10_000_000 + patient.number * 37 % 10_000_000
        films = [patient.levels(visit, SIDE) for visit in patient.visits]
        for place, (visit, pixels) in enumerate(zip(patient.visits, films, strict=True)):
            study = 59_000_000 - 1000 * place - patient.number % 997  # falls as time goes on
            said = patient.report(visit)[1]
            made.shots.append(Shot(number, study, visit.day, pixels, said))
        hashes = [pixels_hash(one) for one in films]
        made.pairs.update(zip(hashes[:-1], hashes[1:], strict=True))
    clean = made.shots[0]
    grain = np.random.default_rng(5)

    def noise() -> Any:
        return grain.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)

    def add(dirt: str | None, patient: int, study: int, day: int, **more: Any) -> None:
        more.setdefault("pixels", noise())
        made.shots.append(Shot(patient, study, day, dirt=dirt, **more))

    add("lateral", clean.patient, 61, 3, view="LATERAL")
    add("no view", clean.patient, 62, 4, view="")
    add("second film", clean.patient, clean.study, clean.day, area=8)
    add("no report", 15_000_001, 63, 1, impression="")
    add(None, 15_000_001, 64, 9)
    for study in (65, 66):
        add("same time", 15_000_002, study, 5)
    shared = noise()
    for one in (15_000_003, 15_000_004):
        add("conflict", one, one, 2, pixels=shared)
    add("no date", 15_000_005, 67, 8, date="sometime")
    add("no file", 15_000_006, 68, 8, lost=True)
    return made


def two_sexes(made: Plan) -> None:
    """Plant two people under one id, for layouts that name a sex."""
    for study, sex in ((71, "M"), (72, "F")):
        pixels = np.random.default_rng(study).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        made.shots.append(
            Shot(15_000_007, study, study, pixels, sex=sex, dirt="two patients under one id")
        )


def write(layout: str, made: Plan, folder: Path) -> tuple[Path, dict[str, str]]:
    """Write the plan in a layout; return what to import, and {FILE:LINE: dirt}."""
    if layout == "dicom":
        return folder, _write_dicom(made, folder)
    rows, dirt = [], {}
    names = {"mimic-cxr": "mimic-cxr-2.0.0-metadata.csv", "chexpert-plus": "df.csv"}
    name = names.get(layout, "studies.csv")
    for line, (number, shot) in enumerate(enumerate(made.shots), 2):
        if shot.dirt:
            dirt[f"{name}:{line}"] = shot.dirt
        date = shot.date or (START + dt.timedelta(days=shot.day)).isoformat()
        p, s = str(shot.patient), str(shot.study)
        sizes = {"Rows": shot.area // SIDE, "Columns": SIDE}
        if layout == "mimic-cxr":
            path = f"files/p{p[:2]}/p{p}/s{s}/d{number}.png"
            row = {"dicom_id": f"d{number}", "subject_id": p, "study_id": s, **sizes}
            row |= {"ViewPosition": shot.view, "StudyDate": date.replace("-", "")}
            row |= {"StudyTime": shot.time.lstrip("0") + ".5"}
            report = folder / f"files/p{p[:2]}/p{p}/s{s}.txt"
            report.parent.mkdir(parents=True, exist_ok=True)
            if not report.exists():
                end = f"IMPRESSION:\n{shot.impression}\n" if shot.impression else ""
                report.write_text(f"INDICATION: rule out pneumonia.\n\nCOMPARISON: ___\n\n{end}")
        elif layout == "chexpert-plus":
            path = f"train/patient{p}/study{s}/view{number}_frontal.png"
            side = "Lateral" if shot.view == "LATERAL" else "Frontal"
            row = {"path_to_image": path, "deid_patient_id": p, "frontal_lateral": side}
            row |= {"ap_pa": "" if side == "Lateral" else shot.view, "sex": shot.sex}
            row |= {"patient_report_date_order": shot.date or str(shot.day)}
            row |= {"section_impression": shot.impression, "section_findings": ""}
        else:
            path = f"films/{number}.png"
            row = {"path": path, "patient": p, "study": s, "date": date, "time": shot.time}
            row |= {"view": shot.view, "impression": shot.impression, "sex": shot.sex, **sizes}
        if not shot.lost:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shot.pixels).save(folder / path)
        rows.append(row)
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / name, dirt


def _write_dicom(made: Plan, folder: Path) -> dict[str, str]:
    dirt: dict[str, str] = {}
    reports: dict[str, str] = {}
    for number, shot in enumerate(made.shots):
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
        header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        header.PatientID, header.PatientSex = str(shot.patient), shot.sex
        header.PatientName = "DOE^JANE"
        header.StudyInstanceUID = f"1.2.{shot.study}"
        day = (START + dt.timedelta(days=shot.day)).strftime("%Y%m%d")
        header.StudyDate = "" if shot.date else day
        header.StudyTime, header.ViewPosition = shot.time, shot.view
        header.Modality, header.PhotometricInterpretation = "DX", "MONOCHROME2"
        header.SamplesPerPixel, header.PixelRepresentation = 1, 0
        header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
        header.Rows, header.Columns = shot.area // SIDE or 1, SIDE
        header.PixelData = shot.pixels[: header.Rows].tobytes()
        path = folder / f"{number:04}.dcm"
        header.save_as(path, enforce_file_format=True)
        if shot.lost:
            path.write_bytes(b"no DICOM")
        reports.setdefault(f"1.2.{shot.study}", shot.impression)
        if shot.dirt:
            dirt[f"{path.name}:1"] = shot.dirt
    with (folder / "reports.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["study", "report"], *reports.items()])
    return dirt
