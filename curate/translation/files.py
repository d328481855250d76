"""Files of slices: read at a translator's size, and written back on the grid that they came from.

Shapes: H x W a slice's own pixels; S x S the translator's.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from curate.errors import CurateError
from curate.importing.check import pictures_of
from curate.importing.config import ImportConfig, Window
from curate.importing.errors import Refused
from curate.importing.nifti import SUFFIXES, in_reading_order
from curate.importing.patients import pseudonym
from curate.samples.marks import marked
from curate.samples.pixels import png_bytes
from curate.workspace import Workspace
from db.folders import replace_file
from generators.framing import framed


@dataclass(frozen=True)
class Slice:
    """One slice of a file, grey, 0 .. 1, at its own size."""

    index: int | None  # in its volume, in the order of reading; None: the file is one picture
    pixels: NDArray[np.float32]  # [H, W]


def is_volume(path: Path) -> bool:
    """Say whether a file's result is a volume: NIfTI."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """Return a file's name without its ending, `.nii.gz` as a whole."""
    ending = next((end for end in reversed(SUFFIXES) if path.name.lower().endswith(end)), None)
    return path.stem if ending is None else path.name[: -len(ending)]


def slices_of(ws: Workspace, path: Path, window: Window) -> Iterator[Slice]:
    """Yield a file's slices, one in memory at a time; slices of one grey level are left out.

    Raises CurateError in one line for what cannot be read as grey slices.
    """
    config = ImportConfig(slice="all", window=window)
    names = partial(pseudonym, ws.folder)
    notes: list[str] = []
    try:
        for picture in pictures_of(path, path.name, config, names, notes.append):
            array = picture.array
            if array.ndim == 3:
                raise Refused("it has three colour channels: translators read grey images")
            top = np.iinfo(array.dtype).max
            yield Slice(picture.index, (array / top).astype(np.float32))
    except Refused as reason:
        raise CurateError(f"{path}: {reason}") from reason
    if unreadable := [note for note in notes if "NaN" in note or "infinite" in note]:
        raise CurateError(f"{path}: {unreadable[0]}. Fix the file, or leave it out.")


def at_size(pixels: NDArray[np.float32], size: int) -> bytes:
    """Return a slice as the PNG that a translator reads: S x S, padded with black, 16 bits."""
    shown = framed(torch.from_numpy(pixels)[None], size, size, "pad")[0]
    return png_bytes((shown.numpy() * 65535).round().astype(np.uint16))


def back_at(pixels_SS: Tensor, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a translated slice [S, S], 0 .. 1, at H x W: the padding off, then scaled."""
    size = pixels_SS.shape[-1]
    scale = min(size / shape[0], size / shape[1])
    inner = [min(size, round(side * scale)) for side in shape]
    top, left = ((size - side) // 2 for side in inner)
    cut = pixels_SS[top : top + inner[0], left : left + inner[1]][None, None]
    scaled = functional.interpolate(cut, shape, mode="bicubic", antialias=True)[0, 0]
    return np.asarray((scaled.clamp(0, 1) * 255).round().byte().numpy())


def write_volume(source: Path, out: Path, slices: Iterator[tuple[int, NDArray[Any]]]) -> None:
    """Write slices as the gzipped NIfTI that lies where the source lies, voxel by voxel.

    What has no slice stays 0. Affine, both orientation codes and zooms are the source's; the
    header says that it is synthetic.
    """
    image: Any = nibabel.load(source)
    shape = (*image.shape, 1, 1)[:3]
    voxels = np.zeros(shape, np.uint8)
    seen, _ = in_reading_order(voxels, np.array(image.affine, float))  # a view of them
    for index, pixels in slices:
        seen[index] = pixels
    made = nibabel.Nifti1Image(voxels.reshape(image.shape), image.affine, dtype=np.uint8)
    for code in ("qform", "sform"):
        matrix, number = getattr(image, f"get_{code}")(coded=True)
        getattr(made, f"set_{code}")(matrix, int(number))
    made.header.set_zooms(image.header.get_zooms())
    made.header.set_xyzt_units(*image.header.get_xyzt_units())
    content = made.to_bytes()
    replace_file(out, marked(gzip.compress(content, 6, mtime=0)))


def numbers(path: Path) -> NDArray[np.int64]:
    """Return a file's numbers as they are stored, in the file's own order: labels, or levels."""
    if is_volume(path):
        volume: Any = nibabel.load(path)
        return np.asarray(np.rint(volume.get_fdata()), np.int64)
    with Image.open(path) as image:
        return np.asarray(image, np.int64)
