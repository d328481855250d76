"""Tables of studies as their publishers lay them out, read into films; every bad row is named.

What a layout calls a column is data here; what stands beside the table is read by its `beside`.
"""

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread

from curate.errors import CurateError
from curate.importing.errors import Refused, foreign
from curate.importing.patients import pseudonym
from curate.importing.rows import file_in
from curate.importing.table import Remark
from curate.importing.table_form import form_of
from curate.journeys.config import JourneyImport
from curate.journeys.films import Film, parse_date, parse_time, sections_of

Cells = dict[str, str]
Add = Callable[[Cells], Cells]
CHEXPERT = (
    *("Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
    *("Pleural Other", "Fracture", "Support Devices", "No Finding"),
)
CENTURY = 36_500  # days: what a file's dates are shifted by is less


@dataclass(frozen=True)
class Layout:
    """Where a kind of table says what: our name -> the columns that hold it, lower case."""

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needed: tuple[str, ...] = ()

    def rows(self, path: Path, workspace: Path) -> Iterator[tuple[str, Cells]]:
        """Yield (FILE:LINE, cells by our names), each label column by its own."""
        lines = _table_lines(path)
        _, header = next(lines, (1, []))
        names = [name.strip().casefold() for name in header]
        places = {
            ours: names.index(found[0])
            for ours, spellings in self.columns.items()
            if (found := [name for name in spellings if name in names])
        }
        places |= {
            name.lower(): names.index(name.lower()) for name in CHEXPERT if name.lower() in names
        }
        if missing := [name for name in self.needed if name not in places]:
            wanted = " or ".join(repr(name) for name in self.columns[missing[0]])
            raise CurateError(
                f"{path.name}: no column {wanted} among {', '.join(header) or 'none'}. "
                "Is the table of another --layout?"
            )
        for line, cells in lines:
            if len(cells) != len(header):
                said = {"broken": f"{len(cells)} columns where the header has {len(header)}"}
            else:
                said = {ours: cells[place].strip() for ours, place in places.items()}
            yield f"{path.name}:{line}", said

    def beside(self, table: Path, config: JourneyImport) -> Add:
        """Return what adds to a row's cells: here its study's report, from `--reports`."""
        if config.reports is None:
            return lambda cells: cells
        reports = _by_key(config.reports, "study", "report")
        return lambda cells: {
            "report": reports.get(cells.get("study", ""), {}).get("report", ""),
            **cells,
        }

    def film(self, place: str, cells: Cells, config: JourneyImport, root: Path) -> Film:
        """Return a row's film; raises Refused for what is missing or cannot be read."""
        for name in ("patient", "path"):
            if not cells.get(name):
                raise Refused(f"no {name}")
        date = None
        if "order" in cells:
            try:
                position = float(cells["order"])
            except ValueError as error:
                raise Refused(f"order {cells['order']!r} is not a number") from error
        else:
            date = parse_date(cells.get("date", ""), config.date_format)
            position = date.toordinal() + parse_time(cells.get("time", ""))
        labels = {}
        for name in CHEXPERT:
            if cells.get(name.lower()):
                with foreign(f"label {name}"):
                    labels[name] = float(cells[name.lower()])
        sections = sections_of(cells.get("report", ""))
        sizes = [cells.get(name, "0") for name in ("rows", "columns")]
        return Film(
            place=place,
            line=int(place.rpartition(":")[2]),
            file=file_in(root, cells["path"], lambda _: None),
            written=cells["path"],
            patient=cells["patient"],
            study=cells.get("study") or cells.get("date") or cells["path"],
            date=date,
            position=position,
            view=cells.get("view", "").upper(),
            area=int(sizes[0]) * int(sizes[1]) if all(size.isdecimal() for size in sizes) else 0,
            findings=cells.get("findings") or sections["findings"],
            impression=cells.get("impression") or sections["impression"],
            progression=cells.get("progression", ""),
            language=cells.get("language") or "en",
            labels=labels,
            split=cells.get("split") or None,
            sex=cells.get("sex", "").upper(),
            modality=cells.get("modality") or config.modality,
        )


class Dicom(Layout):
    """A folder of DICOM files: each is a row."""

    def rows(self, path: Path, workspace: Path) -> Iterator[tuple[str, Cells]]:
        """Yield what the headers below a folder say, file by file in the order of their names.

        Patients are pseudonyms, and dates are shifted by days that are the patient's own.
        """
        if not path.is_dir():
            raise CurateError(
                f"{path} is not a folder of DICOM files. Give one, or another --layout."
            )
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            if file.suffix.lower() == ".csv":
                continue
            written = file.relative_to(path).as_posix()
            try:
                with foreign("not a DICOM file that can be read"):
                    header = dcmread(file, stop_before_pixels=True)
            except Refused as reason:
                yield f"{written}:1", {"broken": str(reason)}
                continue
            named = {
                "patient": "PatientID",
                "study": "StudyInstanceUID",
                "date": "StudyDate",
                "time": "StudyTime",
                "view": "ViewPosition",
                "rows": "Rows",
                "columns": "Columns",
                "sex": "PatientSex",
            }
            cells = {ours: str(header.get(tag) or "").strip() for ours, tag in named.items()}
            cells["time"] = cells["time"] or str(header.get("AcquisitionTime") or "")
            if cells["patient"]:
                cells["patient"] = pseudonym(workspace, cells["patient"])
                if cells["date"]:
                    secret = int(cells["patient"][2:], 16) % CENTURY
                    try:
                        day = parse_date(cells["date"], None).toordinal() - secret
                        cells["date"] = parse_date(cells["date"], None).fromordinal(day).isoformat()
                    except (Refused, ValueError) as reason:
                        yield f"{written}:1", {"broken": str(reason)}
                        continue
            yield f"{written}:1", {**cells, "path": written}


class MimicCxr(Layout):
    """MIMIC-CXR-JPG's metadata, with its split, labels and reports beside."""

    def beside(self, table: Path, config: JourneyImport) -> Add:
        """Return what adds split, labels, report and the published path to a row."""
        tables: dict[str, dict[str, Cells]] = defaultdict(dict)
        for name, key in (("split", "dicom_id"), ("chexpert", "study_id"), ("negbio", "study_id")):
            for path in sorted(table.parent.glob(f"*{name}.csv*"))[:1]:
                tables[name] = _by_key(path, key)
        reports = config.reports or table.parent

        def add(cells: Cells) -> Cells:
            patient, study, dicom = (cells[name] for name in ("patient", "study", "dicom"))
            below = f"files/p{patient[:2]}/p{patient}/s{study}"
            labels = tables["chexpert"].get(study) or tables["negbio"].get(study) or {}
            named = {name.lower(): labels.get(name.lower(), "") for name in CHEXPERT}
            report = reports / f"{below}.txt"
            text = report.read_text(encoding="utf-8", errors="replace") if report.is_file() else ""
            split = tables["split"].get(dicom, {}).get("split", "")
            if config.split_by == "published":
                split = "test" if patient.startswith("19") else ""
            path = f"{below}/{dicom}.jpg"
            if not ((config.folder or table.parent) / path).is_file():
                path = f"{below}/{dicom}.png"
            return {**named, **cells, "path": path, "report": text, "split": split}

        return add


class CheXpertPlus(Layout):
    """CheXpert Plus, whose studies are numbered and not dated."""

    def beside(self, table: Path, config: JourneyImport) -> Add:
        """Return what gives all images of a CheXpert Plus study the first one's report.

        It was anonymised once for each image, and the versions differ.
        """
        said: dict[tuple[str, str], Cells] = {}

        def add(cells: Cells) -> Cells:
            parts = cells["path"].split("/")
            study = next((part for part in parts if part.startswith("study")), cells["order"])
            sections = {name: cells.get(name, "") for name in ("findings", "impression", "report")}
            first = said.setdefault((cells["patient"], study), sections)
            view = (
                "LATERAL"
                if cells.get("side", "").casefold() == "lateral"
                else cells.get("view", "")
            )
            return {**cells, **first, "study": study, "view": view}

        return add


class PadChest(Layout):
    """PadChest: reports in Spanish, labels in English."""

    def beside(self, table: Path, config: JourneyImport) -> Add:
        """Return what finds PadChest's images and takes its English labels for the findings."""

        def add(cells: Cells) -> Cells:
            folder = cells.get("folder", "")
            root = config.folder or table.parent
            nested = f"{folder}/{cells['path']}"
            path = nested if folder and (root / nested).is_file() else cells["path"]
            labels = cells.get("words", "").strip("[]").replace("'", "").replace(",", ".")
            language = "en" if labels else "es"
            return {
                **cells,
                "path": path,
                "language": language,
                "report": labels or cells.get("report", ""),
            }

        return add


def _table_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of a CSV, gzipped or not, the header among them."""
    try:
        if path.suffix == ".gz":
            text: io.TextIOBase = gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            separator = ","
        else:
            form = form_of(path)
            text = path.open(encoding=form.encoding, errors="replace", newline="")
            separator = form.separator
    except OSError as error:
        raise CurateError(f"{path} cannot be read: {error.strerror}. Give a table.") from error
    with text:
        reader = csv.reader(text, delimiter=separator)
        line = 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1


def _by_key(path: Path, key: str, *needed: str) -> dict[str, Cells]:
    """Return the rows of a table beside by one of its columns; the first of several counts."""
    lines = _table_lines(path)
    names = [name.strip().casefold() for name in next(lines, (1, []))[1]]
    if missing := [name for name in (key, *needed) if name not in names]:
        raise CurateError(f"{path} has no column {missing[0]!r}.")
    found: dict[str, Cells] = {}
    for _, cells in lines:
        row = dict(zip(names, (cell.strip() for cell in cells), strict=False))
        found.setdefault(row[key], row)
    return found


LAYOUTS = {
    "csv": Layout(
        {
            "path": ("path", "image", "image_path", "file"),
            "patient": ("patient", "patient_id", "subject_id"),
            "date": ("date", "study_date", "studydate"),
            "order": ("order",),
            "time": ("time", "study_time"),
            "study": ("study", "study_id"),
            "view": ("view", "view_position", "viewposition"),
            "report": ("report", "text", "caption"),
            "findings": ("findings",),
            "impression": ("impression",),
            "progression": ("progression",),
            "modality": ("modality",),
            "language": ("language",),
            "split": ("split",),
            "sex": ("sex",),
            "rows": ("rows", "height"),
            "columns": ("columns", "width"),
        },
        ("path", "patient"),
    ),
    "mimic-cxr": MimicCxr(
        {
            "dicom": ("dicom_id",),
            "patient": ("subject_id",),
            "study": ("study_id",),
            "date": ("studydate",),
            "time": ("studytime",),
            "view": ("viewposition",),
            "rows": ("rows",),
            "columns": ("columns",),
        },
        ("dicom", "patient", "study", "date", "view"),
    ),
    "chexpert-plus": CheXpertPlus(
        {
            "path": ("path_to_image",),
            "patient": ("deid_patient_id",),
            "order": ("patient_report_date_order",),
            "side": ("frontal_lateral",),
            "view": ("ap_pa",),
            "findings": ("section_findings",),
            "impression": ("section_impression",),
            "report": ("report",),
            "split": ("split",),
            "sex": ("sex",),
        },
        ("path", "patient", "order", "view"),
    ),
    "padchest": PadChest(
        {
            "path": ("imageid",),
            "folder": ("imagedir",),
            "patient": ("patientid",),
            "study": ("studyid",),
            "date": ("studydate_dicom",),
            "view": ("projection",),
            "report": ("report",),
            "words": ("labels",),
            "sex": ("patientsex_dicom",),
        },
        ("path", "patient", "study", "date", "view"),
    ),
    "dicom": Dicom(),
}


@dataclass(frozen=True)
class Read:
    """The films of a table, and the rows that are none."""

    films: list[Film]
    refused: list[Remark]
    num_rows: int


def read_films(table: Path, config: JourneyImport, workspace: Path) -> Read:
    """Read a table, or a folder of DICOM files. Raises CurateError where it is no such thing."""
    layout = LAYOUTS[config.layout]
    root = (config.folder or (table if table.is_dir() else table.parent)).resolve()
    add = layout.beside(table, config)
    films, refused, count = [], [], 0
    for place, cells in layout.rows(table, workspace):
        count += 1
        file, _, line = place.rpartition(":")
        try:
            if "broken" in cells:
                raise Refused(cells["broken"])
            films.append(layout.film(place, add(cells), config, root))
        except Refused as reason:
            refused.append(Remark(file, int(line), str(reason)))
    if not count:
        raise CurateError(f"{table} has no studies. Is its layout {config.layout}?")
    return Read(films, refused, count)
