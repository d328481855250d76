"""Samples as files: PNG for pictures, NIfTI for volumes, HU and whatever has a geometry.

Equal samples give equal bytes, and a file gives back the sample it was made of, exactly. A file
says itself what it is: a PNG of labels in a text chunk, a NIfTI in a header extension.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Extension

from curate.samples.pixels import damaged, png_bytes, read_png
from db.store import FileStore
from generators.sample import Sample

PNG, NIFTI = "image/png", "application/x-nifti+gzip"
EXTENSIONS = {PNG: ".png", NIFTI: ".nii.gz"}
COMPRESSION = 3  # of 9
KIND = "kind"  # the text chunk's keyword; a PNG without one holds intensities
GZIP_HEADER = b"\x1f\x8b\x08\x00\0\0\0\0\x00\xff"  # no name, no time, no system
COMMENT, IN_MM, LABELS_INTENT, VECTOR_INTENT = 6, "mm", 1002, 1007  # codes of NIfTI-1


@dataclass(frozen=True)
class SampleFile:
    """A file's bytes, what they are and how its name ends."""

    content: bytes
    media_type: str

    @property
    def extension(self) -> str:
        """Return ".png" or ".nii.gz"."""
        return EXTENSIONS[self.media_type]


def encode(sample: Sample) -> SampleFile:
    """Return the sample as a file; equal samples give equal bytes."""
    depth = sample.array.dtype.name
    if (  # a PNG holds all of it: 8 bits, or grey of 16, a picture without a geometry
        not sample.is_volume
        and sample.kind != "HU"
        and sample.spacing_mm is None
        and sample.affine is None
        and (depth == "uint8" or (depth == "uint16" and len(sample.array) == 1))
    ):
        says = {} if sample.kind == "intensity" else {KIND: sample.kind}
        return SampleFile(png_bytes(pixels_of(sample), says), PNG)
    return SampleFile(gzipped(_nifti(sample).to_bytes()), NIFTI)


def gzipped(content: bytes) -> bytes:
    """Return the bytes packed; nothing in them says when or where."""
    packer = zlib.compressobj(COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(content) + packer.flush()
    trailer = struct.pack("<II", zlib.crc32(content), len(content) % 2**32)
    return GZIP_HEADER + packed + trailer


def decode(content: bytes, media_type: str | None = None) -> Sample:
    """Return the sample that a file holds; raises CurateError when the bytes are no whole one.

    The type of a file that stands alone is read off its first bytes.
    """
    if (media_type or (NIFTI if content[:2] == GZIP_HEADER[:2] else PNG)) == NIFTI:
        return _from_nifti(content)
    array, says = read_png(content)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.ndim == 2:
        return Sample(array[None], "labels" if says.get(KIND) == "labels" else "intensity")
    channels = 3 if array.shape[2] >= 3 else 1  # what is over is transparency
    return Sample(np.ascontiguousarray(np.moveaxis(array[..., :channels], 2, 0)))


def read_sample(store: FileStore, sha256: str) -> Sample:
    """Return the sample in a stored file."""
    return decode(store.get(sha256))


def pixels_of(sample: Sample) -> np.ndarray[Any, Any]:
    """Return the numbers as a PNG has them, without a single channel's axis: [H, W] or [H, W, 3].

    Of a volume [D, H, W] or [D, H, W, 3].
    """
    array = sample.array
    return array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)


def _nifti(sample: Sample) -> nibabel.Nifti1Image:
    """Voxels in NIfTI's order (W, H, D, time, channels); the extension says what has no field."""
    array = sample.array
    channels, *spatial = array.shape
    shape = [
        *reversed(spatial),
        *(1,) * (3 - len(spatial)),
        *((1, channels) if channels > 1 else ()),
    ]
    voxels = array.ravel().reshape(shape, order="F")
    steps = sample.spacing_mm or (1.0,) * len(spatial)
    placed = np.diag([*reversed(steps), *(1.0,) * (3 - len(spatial)), 1.0])
    if sample.affine is not None:
        placed = np.asarray(sample.affine, float)
    image = nibabel.Nifti1Image(voxels, placed, dtype=array.dtype)
    image.header.set_slope_inter(1, 0)
    image.header.set_xyzt_units(IN_MM)
    if sample.kind == "labels":
        image.header.set_intent(LABELS_INTENT, allow_unknown=True)
    elif channels > 1:
        image.header.set_intent(VECTOR_INTENT, allow_unknown=True)
    says = {
        "kind": sample.kind,
        "shape": list(array.shape),
        "spacing_mm": sample.spacing_mm,
        "affine": sample.affine,  # in 64 bits, where the header has 32
    }
    text = json.dumps(says, sort_keys=True).encode()
    image.header.extensions.append(Nifti1Extension(COMMENT, text))
    return image


def _from_nifti(content: bytes) -> Sample:
    try:
        image = nibabel.Nifti1Image.from_bytes(zlib.decompress(content, wbits=31))
        says = json.loads(image.header.extensions[0].get_content())
        voxels = np.asanyarray(image.dataobj)
        array = voxels.reshape(says["shape"][::-1], order="F").T
        spacing, affine = says["spacing_mm"], says["affine"]
        return Sample(
            np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))),
            says["kind"],
            None if spacing is None else tuple(spacing),
            None if affine is None else tuple(map(tuple, affine)),
        )
    except (
        ImageFileError,
        EOFError,
        IndexError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise damaged(content, "volume", error) from error
