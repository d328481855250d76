"""DICOM files: pixels in a window, spacing and place; nothing that names a patient.

All else in the file is left behind. A patient's ID becomes a salted hash, so that images of one
patient stay together and nobody can tell who it is.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from curate.importing.config import ImportConfig
from curate.importing.errors import Refused, foreign
from curate.importing.grey import finite_or_black, full_limits
from curate.importing.header import affine_of, number, spacing_of, through_table, value_of
from curate.importing.picture import Array, Picture, Say, check_size, chosen_slices
from curate.importing.shown import shown
from curate.samples.pixels import png_bytes

Pseudonym = Callable[[str], str]
NO_PIXELS = "no pixels can be read from this DICOM file"
GREY = ("MONOCHROME1", "MONOCHROME2")
BYTES_A_PIXEL = 6  # of a deflated file at most: three colours of 16 bits
# All of a header that is asked for.
KEYWORDS = (
    *("BurnedInAnnotation", "PatientID", "Modality", "SeriesInstanceUID", "NumberOfFrames"),
    *("Rows", "Columns", "BitsStored", "BitsAllocated", "HighBit", "PhotometricInterpretation"),
    *("PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "ImageOrientationPatient"),
    *("ImagePositionPatient", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
)
SEQUENCES = (
    *("ModalityLUTSequence", "VOILUTSequence"),
    *("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"),
)
JPEG_FAMILY = "1.2.840.10008.1.2.4."  # transfer syntaxes: JPEG, JPEG-LS, JPEG 2000
HEADER_BYTES = 2**24
NOT_DICOM = "not a DICOM file that can be read"
# By (is implicit, is little endian): what a file without meta information can be.
DEFAULT_SYNTAXES = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


def is_dicom(path: Path) -> bool:
    """Say whether the file is DICOM: by its preamble or its name; gzip around it is looked into."""
    try:
        with gzip.open(path) if _is_packed(path) else path.open("rb") as file:
            return file.read(132)[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False


def open_dicom(
    path: Path, config: ImportConfig, say: Say = lambda _: None, *, pixels: bool = True
) -> Dataset:
    """Read a file whose pixels may be kept; Refused before anything large is unpacked."""
    if not _is_packed(path):
        dataset = _read(path, config, say, pixels=pixels)
    else:
        limit = _most_bytes(config)
        with foreign("not a whole gzip file"), gzip.open(path) as packed:
            content = packed.read(limit + 1)
        if len(content) > limit:
            raise Refused(f"it decompresses to more than {limit / 1e6:.0f} MB (--max-megapixels)")
        with NamedTemporaryFile() as file:  # pydicom's parts want a path
            file.write(content)
            file.flush()
            dataset = _read(Path(file.name), config, say, pixels=pixels)
    with foreign("a value of its header cannot be read"):  # pydicom parses a value when asked
        for keyword in KEYWORDS:
            dataset.get(keyword)
        for sequence in SEQUENCES:
            for item in dataset.get(sequence) or ():
                list(item.iterall())
        dataset.file_meta.get("MediaStorageSOPClassUID")
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        raise Refused("its header says that text is burned into the pixels (BurnedInAnnotation)")
    if "Rows" not in dataset:
        kind = getattr(dataset.file_meta.get("MediaStorageSOPClassUID"), "name", "this file")
        raise Refused(f"{NO_PIXELS}: {kind} holds none")
    empty = [name for name in ("Rows", "Columns") if not dataset.get(name)]
    if empty:
        raise Refused(f"{NO_PIXELS}: {' and '.join(empty)} in its header is empty or 0")
    with foreign(NO_PIXELS):
        num_pixels = int(dataset.Rows) * int(dataset.Columns)
        num_frames, stored = num_frames_of(dataset), int(dataset.get("BitsStored") or 0)
        high = int(dataset.get("HighBit") or stored - 1)
    check_size(num_pixels, config, num_frames)
    if stored and high != stored - 1:
        raise Refused(
            f"{stored} bits with the highest at {high}: a layout that PS3.5 8.1.1 no longer allows"
        )
    return dataset


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _most_bytes(config: ImportConfig) -> int:
    """Return what the largest image may need, its header with it."""
    return int(config.max_megapixels * 1e6 * BYTES_A_PIXEL) + HEADER_BYTES


def _read(path: Path, config: ImportConfig, say: Say, *, pixels: bool) -> Dataset:
    try:
        with foreign(NOT_DICOM):
            meta = read_file_meta_info(path)
            is_deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
            length = int(meta.FileMetaInformationGroupLength) if is_deflated else 0
        if is_deflated:
            _check_deflated(path, length, config)
        with foreign(NOT_DICOM):
            return dcmread(path, stop_before_pixels=not pixels)
    except Refused as reason:
        if not isinstance(reason.__cause__, InvalidDicomError):
            raise
        with foreign(NOT_DICOM):
            dataset = dcmread(path, force=True, stop_before_pixels=not pixels)
            encoding = dataset.original_encoding
        if "Rows" not in dataset or encoding not in DEFAULT_SYNTAXES:
            raise Refused(
                "not a DICOM file, or one without its preamble (DICM at byte 128)"
            ) from reason
        say("it has no preamble and no meta information (PS3.10 7.1): read as uncompressed")
        dataset.file_meta.TransferSyntaxUID = DEFAULT_SYNTAXES[encoding]
        return dataset


def _check_deflated(path: Path, meta_length: int, config: ImportConfig) -> None:
    """Refuse a deflated file that unpacks to more than its largest image could need."""
    limit = _most_bytes(config)
    unpacked, inflate = 0, zlib.decompressobj(-zlib.MAX_WBITS)
    with path.open("rb") as file:
        file.seek(128 + 4 + 12 + meta_length)  # preamble, DICM, the element that names the length
        while packed := file.read(2**16):
            while packed:
                with foreign("not a DICOM file that can be read"):
                    unpacked += len(inflate.decompress(packed, 2**20))
                packed = inflate.unconsumed_tail
                if unpacked > limit:
                    raise Refused(
                        f"it decompresses to more than {limit / 1e6:.0f} MB (--max-megapixels)"
                    )


def dicom_pictures(
    path: Path, config: ImportConfig, pseudonym: Pseudonym, say: Say
) -> Iterator[Picture]:
    """Yield the chosen frames; Refused when the file is not whole or its pixels hold text."""
    dataset = open_dicom(path, config, say)
    with foreign(NO_PIXELS):
        num_frames = num_frames_of(dataset)
    indices = chosen_slices(config.slice, num_frames)
    patient = patient_of(dataset, pseudonym)
    blank = []
    for index in indices:
        frame, is_colour = frame_of(dataset, index, say)
        if len(indices) > 1 and frame.min() == frame.max():
            blank.append(index)
            continue
        how: dict[str, object] = {"slice": index}
        if not is_colour:
            padding = padding_of(dataset, frame)
            values = rescaled(dataset, frame, index)
            values = finite_or_black(values, index, say)
            frame, how = shown(
                dataset, values, index, config, say, lambda: _extremes(dataset, num_frames)
            )
            if config.window == "full" and padding is not None:
                frame[padding] = 0
        affine = affine_of(dataset, index)
        yield Picture(
            encoded=png_bytes(frame),
            array=frame,
            index=index if num_frames > 1 else None,
            spacing_mm=spacing_of(dataset, index),
            affine=None if affine is None else affine.tolist(),
            how=how,
            patient=patient,
        )
    if blank:
        say(f"{len(blank)} of {len(indices)} frames have a single grey level and are left out")


def num_frames_of(dataset: Dataset) -> int:
    """Return the number of frames that the header names, 1 where it names none."""
    return int(dataset.get("NumberOfFrames") or 1)


def patient_of(dataset: Dataset, pseudonym: Pseudonym) -> str | None:
    """Return the patient's pseudonym, if the file has an ID."""
    patient_id = str(dataset.get("PatientID") or "")
    return pseudonym(patient_id) if patient_id else None


def frame_of(dataset: Dataset, index: int, say: Say = lambda _: None) -> tuple[Array, bool]:
    """Return one frame as stored, or as RGB of 8 bits, and whether it is in colour.

    PS3.3 C.7.6.3.1.2 says what the numbers are. YBR_FULL, _422, _ICT and _RCT come as RGB.
    """
    named = str(dataset.get("PhotometricInterpretation"))
    if named.startswith("YBR_PARTIAL"):  # black is 16: the full range's formulas would be wrong
        raise Refused(f"colours of {named}, of video or retired (PS3.3 C.7.6.3.1.2): export as RGB")
    syntax = dataset.file_meta.get("TransferSyntaxUID", "")
    try:
        with foreign(NO_PIXELS, say):
            frame, meta = get_decoder(syntax).as_array(dataset, index=index)
            kind = str(meta["photometric_interpretation"])
            if kind == "PALETTE COLOR":  # C.7.9: numbers of colours
                frame, kind = apply_color_lut(frame, dataset), "RGB"
                bits = frame.dtype.itemsize * 8
            else:
                bits = int(meta["bits_stored"])
    except Refused as reason:
        first, *more = str(reason).splitlines()
        told = "; ".join([first.rstrip(":"), *(line.strip() for line in more)])
        if syntax == JPEGExtended12Bit:
            told += "; no decoder of 12-bit JPEG can be used: export it uncompressed"
        elif find_spec("gdcm") is None and str(syntax).startswith(JPEG_FAMILY):
            told += ". Its decoder may be lacking: pip install 'curate-images[jpeg]'"
        raise Refused(told) from reason
    if kind in GREY and frame.ndim == 2:
        return frame, False
    if kind != "RGB" or frame.ndim != 3 or frame.shape[2] != 3:
        raise Refused(f"pixels of kind {kind} (PS3.3 C.7.6.3.1.2): export it as grey or RGB")
    if bits > 8:
        say(f"colours of {bits} bits are kept at 8")
        frame = frame >> (bits - 8)
    return frame.astype(np.uint8), True


def rescaled(dataset: Dataset, stored: Array, index: int) -> Array:
    """Return stored values in the scan's unit, float32, by PS3.3 C.11.1 (Modality LUT)."""
    table = dataset.get("ModalityLUTSequence")
    if table:
        with foreign("its Modality LUT cannot be read"):
            return through_table(stored, table[0], dataset.original_encoding[1] is not False)[0]
    values = stored.astype(np.float32)  # 16-bit values stay exact
    group = "PixelValueTransformationSequence"
    values *= number(value_of(dataset, index, group, "RescaleSlope"), 1.0)
    values += number(value_of(dataset, index, group, "RescaleIntercept"), 0.0)
    return values


def padding_of(dataset: Dataset, stored: Array) -> Array | None:
    """Return where pixels are padding by PS3.3 C.7.5.1.1.2, which is no part of the image."""
    if dataset.get("PixelPaddingValue") in (None, ""):
        return None
    with foreign("its PixelPaddingValue cannot be read"):
        first = int(dataset.PixelPaddingValue)
        last = int(dataset.get("PixelPaddingRangeLimit") or first)
    found = (stored >= min(first, last)) & (stored <= max(first, last))
    return found if found.any() else None


def _extremes(dataset: Dataset, num_frames: int) -> tuple[float, float]:
    """Return the least and the greatest value of all frames, padding left out."""

    def frames() -> Iterator[Array]:
        for index in range(num_frames):
            stored, _ = frame_of(dataset, index)
            padding = padding_of(dataset, stored)
            values = rescaled(dataset, stored, index)
            yield values if padding is None else values[~padding]

    return full_limits(frames())
