"""Damaged tables and images against `curate import`: no traceback, no hang, bounded memory.

    python -m benchmarks.fuzz --tables 10000 --images 10000 --seed 0

Each table is one that goes in, with a few neighbouring lines or the whole of it damaged; each image
is one of every format that is read, damaged in its bytes (before packing where it is packed), in a
table beside whole ones. What must hold: every import ends with its rows taken or refused, rows that
no damage touched go in with the pixels they always had, and an exception of curate's own code is
not swallowed: one is planted, and has to come out. Exits with 1 where any of it does not hold.
"""

import gzip
import io
import json
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import nibabel
import numpy as np
import typer
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from curate.errors import CurateError
from curate.importing import check
from curate.importing.config import ImportConfig
from curate.importing.real_images import Imported, import_table
from curate.workspace import Workspace, init_workspace, open_workspace

LONGEST = 60  # seconds an import may take on a busy machine
IMAGES_A_TABLE = 10
HEADER = b"path,Text,modality,label,patient,split"
SAYS = ["drusen", "no finding", "fluid under the retina", "scar", "naïve"]
EXTREMES = (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f")
NASTY = (
    b'"',
    b",",
    b";",
    b"\t",
    b"\0",
    b"\n",
    b"\r",
    b"\xff",
    b"\xe9",
    b"../",
    b"sep=",
    b"nan",
    b"=1+1",
)


@dataclass
class Found:
    """What came of a fuzz."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)  # how to see each again

    def took(self, name: str, imported: Imported, untouched: dict[int, str]) -> None:
        """Count an import that ended; each untouched line has its pixels."""
        self.outcomes["imports"] += 1
        self.outcomes["lines refused"] += len(imported.refused)
        self.outcomes["untouched lines"] += len(untouched)
        for line, pixels in untouched.items():
            if imported.pixels.get(line) == pixels:
                self.outcomes["untouched lines in with their pixels"] += 1
            else:
                why = [str(one) for one in imported.refused if one.line == line]
                self.failures.append(f"{name}: untouched line {line} is lost {why}")


class _Hangs(Exception):
    pass


@contextmanager
def _limited() -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


PLANTED = "pixels_hash"  # the function of ours that fails on purpose


def tried(
    ws: Workspace, table: Path, name: str, found: Found, untouched: dict[int, str], **options: Any
) -> None:
    """Import a table, and note what must not come of it."""
    try:
        with _limited(), redirect_stderr(io.StringIO()):
            imported = import_table(ws, table, ImportConfig(**options))
    except CurateError:
        found.outcomes["tables refused whole"] += 1
        if untouched:
            found.failures.append(f"{name}: a whole table refused with {len(untouched)} good lines")
    except _Hangs:
        ws.session.rollback()
        found.outcomes["hangs"] += 1
        found.failures.append(f"{name}: hangs")
    except Exception:
        ws.session.rollback()
        found.outcomes["tracebacks"] += 1
        last = traceback.format_exc().strip().splitlines()
        found.failures.append(f"{name}: {last[-1]} at {last[-3].strip()}")
    else:
        found.took(name, imported, untouched)


def good_folder(folder: Path) -> list[tuple[str, bytes]]:
    """Write a folder of images and its table; return (path, line) of each row."""
    folder.mkdir()
    rows = []
    for number in range(8):
        rng = np.random.default_rng(number)
        name = f"{rng.integers(10**12):012}-{number}.png"  # no damage makes another's name of it
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / name)
        says = SAYS[number % len(SAYS)]
        rows.append((name, f"{name},{says} {number},OCT,l{number},p{number},train".encode()))
    (folder / "good.csv").write_bytes(b"\n".join([HEADER, *(line for _, line in rows)]) + b"\n")
    return rows


def fuzz_tables(ws: Workspace, folder: Path, count: int, seed: int, found: Found) -> None:
    """Damage a good table `count` times."""
    rows = good_folder(folder)
    pixels = import_table(ws, folder / "good.csv", ImportConfig(strict=True)).pixels
    for number in range(count):
        rng = random.Random(f"table {seed} {number}")
        lines = [line for _, line in rows]
        untouched = dict(pixels)
        if rng.random() < 0.7:
            start = rng.randrange(len(lines))
            for place in range(start, min(start + rng.randint(1, 3), len(lines))):
                lines[place] = damaged_line(rng, lines[place])
                untouched.pop(place + 2)
            if any(b"\n" in line or b"\r" in line for line in lines):
                untouched = {}  # the lines below have other numbers
            content = b"\n".join([HEADER, *lines]) + b"\n"
        else:
            content = damaged(rng, (folder / "good.csv").read_bytes())
            untouched = {}
        table = folder / "damaged.csv"
        table.write_bytes(content)
        tried(ws, table, f"table {number}", found, untouched)


def damaged_line(rng: random.Random, line: bytes) -> bytes:
    """Put something nasty into a line, take something out, or turn it into another's."""
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(line) + 1)
        end = place + rng.randint(0, 5)
        line = line[:place] + rng.choice((*NASTY, bytes([rng.randrange(256)]))) + line[end:]
    return line


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Flip, cut, fill or repeat bytes of a file."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        kind, place = rng.randrange(6), rng.randrange(len(data) or 1)
        place = rng.randrange(min(len(data), 600) or 1) if rng.random() < 0.6 else place
        if kind == 0:
            for _ in range(rng.randint(1, 16)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place + 1 :]
        elif kind == 2:
            data[place : place + 4] = rng.choice(EXTREMES)
        elif kind == 3:
            data[place : place + rng.randint(1, 64)] = b""
        elif kind == 4:
            data[place:place] = data[place : place + rng.randint(1, 64)]
        else:
            data[place : place + 8] = rng.randbytes(8)
        data = data or bytearray(b"\0")
    return bytes(data)


def originals(seed: int = 0) -> dict[str, tuple[bytes, Callable[[bytes], bytes]]]:
    """Return {name: (bytes to damage, how they are packed)} of every format that is read."""
    rng = np.random.default_rng(seed)
    grey, colour = (
        rng.integers(0, 256, (24, 20), np.uint8),
        rng.integers(0, 256, (24, 20, 3), np.uint8),
    )
    deep = rng.integers(0, 65536, (24, 20)).astype(np.uint16)
    made: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {}

    def plain(name: str, array: Any, **options: Any) -> None:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, **options)
        made[name] = (buffer.getvalue(), bytes)

    plain("grey.png", grey, format="PNG")
    plain("deep.png", deep, format="PNG")
    plain("colour.jpg", colour, format="JPEG")
    plain("colour.webp", colour, format="WEBP")
    plain("colour.bmp", colour, format="BMP")
    for compression in ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate"):
        plain(f"{compression}.tif", colour, format="TIFF", compression=compression)
    plain("deep.tif", deep, format="TIFF")
    for name, syntax in (
        ("explicit", ExplicitVRLittleEndian),
        ("implicit", ImplicitVRLittleEndian),
        ("big", ExplicitVRBigEndian),
        ("deflated", DeflatedExplicitVRLittleEndian),
        ("rle", RLELossless),
        ("colour", ExplicitVRLittleEndian),
    ):
        made[f"{name}.dcm"] = (_dicom(colour if name == "colour" else deep, syntax), bytes)
    for name, voxels in (
        ("short", rng.integers(-1000, 1000, (6, 5, 4)).astype(np.int16)),
        ("float", rng.normal(size=(6, 5, 4)).astype(np.float32)),
    ):
        content = nibabel.Nifti1Image(voxels, np.diag([1.0, 2, 3, 1])).to_bytes()
        made[f"{name}.nii"] = (content, bytes)
        made[f"{name}.nii.gz"] = (content, gzip.compress)
        made[f"{name}-packed.nii.gz"] = (gzip.compress(content), bytes)
    content = nibabel.Nifti2Image(np.ones((3, 4, 5), np.uint8), np.eye(4)).to_bytes()
    made["two.nii"] = (content, bytes)
    return made


def _dicom(pixels: Any, syntax: str) -> bytes:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = (
        ExplicitVRLittleEndian if syntax == RLELossless else UID(syntax)
    )
    made.file_meta.MediaStorageSOPClassUID = CTImageStorage
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, UID("1.2.3")
    made.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    made.Modality, made.PatientID = "CT", "someone"
    made.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    made.SamplesPerPixel, made.PixelRepresentation = pixels.shape[2:] or 1, 0
    if pixels.ndim == 3:
        made.SamplesPerPixel, made.PlanarConfiguration = 3, 0
    bits = pixels.dtype.itemsize * 8
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.WindowCenter, made.WindowWidth = 40, 400
    made.PixelSpacing, made.ImagePositionPatient = [0.5, 0.75], [-100, -50, 30]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.Rows, made.Columns = pixels.shape[:2]
    made.PixelData = pixels.astype(
        ">u2" if syntax == ExplicitVRBigEndian and bits == 16 else pixels.dtype
    ).tobytes()
    if syntax == RLELossless:
        made.compress(RLELossless)
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def fuzz_images(ws: Workspace, folder: Path, count: int, seed: int, found: Found) -> None:
    """Damage `count` images, ten of them in a table with three whole ones."""
    folder.mkdir()
    made, whole_ones = originals(), originals(seed=1)  # no damaged one has a whole one's pixels
    whole = [f"whole-{name}" for name in ("grey.png", "explicit.dcm", "short.nii.gz")]
    for name in whole:
        content, pack = whole_ones[name.removeprefix("whole-")]
        (folder / name).write_bytes(pack(content))
    good = [f"{name},whole {place},ChestCT" for place, name in enumerate(whole)]
    options = {"window": "full", "slice": "middle"}
    table = folder / "images.csv"
    table.write_text("\n".join(["path,Text,modality", *good]) + "\n")
    pixels = import_table(ws, table, ImportConfig(strict=True, **options)).pixels  # type: ignore[arg-type]
    for first in range(0, count, IMAGES_A_TABLE):
        lines = ["path,Text,modality", *good]
        for number in range(first, min(first + IMAGES_A_TABLE, count)):
            rng = random.Random(f"image {seed} {number}")
            name = rng.choice(list(made))
            content, pack = made[name]
            (folder / f"{number % IMAGES_A_TABLE}-{name}").write_bytes(pack(damaged(rng, content)))
            lines.append(f"{number % IMAGES_A_TABLE}-{name},damaged {number},ChestCT")
        table.write_text("\n".join(lines) + "\n")
        kind = "volume" if first // IMAGES_A_TABLE % 5 == 4 else "picture"
        expected = dict(pixels) if kind == "picture" else {}
        tried(ws, table, f"images from {first}", found, expected, kind=kind, **options)


def planted_comes_out(ws: Workspace, folder: Path) -> bool:
    """Say whether an exception of curate's own code, planted, ends an import as what it is."""
    before = getattr(check, PLANTED)

    def mistaken(array: Any) -> str:
        raise ZeroDivisionError("planted")

    setattr(check, PLANTED, mistaken)
    try:
        with redirect_stderr(io.StringIO()):
            import_table(ws, folder / "good.csv", ImportConfig())
    except ZeroDivisionError:
        return True
    finally:
        setattr(check, PLANTED, before)
    return False


def fuzz(tables: int, images: int, seed: int) -> dict[str, Any]:
    """Return counts, failures, and the most memory that was held."""
    found_tables, found_images = Found(), Found()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        init_workspace(root / "ws")
        before = _peak_mb()
        with open_workspace(root / "ws") as ws, redirect_stderr(io.StringIO()):
            fuzz_tables(ws, root / "tables", tables, seed, found_tables)
            fuzz_images(ws, root / "images", images, seed, found_images)
            planted = planted_comes_out(ws, root / "tables")
    return {
        "seed": seed,
        "tables": {"damaged": tables, **found_tables.outcomes},
        "images": {"damaged": images, **found_images.outcomes},
        "a planted exception comes out": planted,
        "peak MB": {"before": before, "after": _peak_mb()},
        "failures": found_tables.failures + found_images.failures,
    }


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(
    tables: Annotated[int, typer.Option(help="Damaged tables.")] = 10_000,
    images: Annotated[int, typer.Option(help="Damaged images.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the damage.")] = 0,
    most_mb: Annotated[int, typer.Option(help="Memory that may be held above the start.")] = 1024,
) -> None:
    """Fuzz `curate import` and print what came of it as JSON."""
    result = fuzz(tables, images, seed)
    print(json.dumps(result, indent=1))
    grown = result["peak MB"]["after"] - result["peak MB"]["before"]
    if result["failures"] or not result["a planted exception comes out"] or grown > most_mb:
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
