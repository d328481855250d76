"""PNG, JPEG, TIFF, BMP and WebP files.

A PNG stays the file it is, grey and 16-bit ones too, less any text, time or EXIF in it and whatever
follows its end. Palettes, opaque alpha and other formats become the PNG of their pixels.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from curate.importing.config import ImportConfig
from curate.importing.errors import Refused, foreign
from curate.importing.grey import finite_or_black, full_limits, given_limits, shown_how, to_grey
from curate.importing.picture import Array, Picture, Say, check_size
from curate.samples.pixels import png_bytes

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
# What a PNG may keep: pixels and colour. Text, EXIF, times and private chunks may name a patient.
PNG_CHUNKS = (
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA"),
    *(b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"pHYs", b"bKGD"),
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT_MODES = ("L", "RGB", "I;16")
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")  # one channel of more than 8 bits
ORIENTATION = 0x0112  # EXIF's and TIFF's tag: 1 is upright
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0, section 8
TILE_WIDTH, TILE_LENGTH = 322, 323  # section 15, in pixels
NARROW = 65536 // 8  # of 16 bits: values within less are nearly one grey
DAMAGED = "the image is damaged or cut short"
# What people name in tables and what would read it, by the end of the name.
ELSEWHERE = {
    (".mgz", ".mgh"): "FreeSurfer's: convert it to NIfTI with mri_convert",
    (".hdr", ".img"): "one of a pair of files: save it as one .nii",
    (".dcm.gz", ".dcm.zip"): "compressed: unpack it",
    (
        ".nrrd",
        ".mha",
        ".mhd",
        ".mnc",
        ".par",
        ".rec",
        ".head",
        ".brik",
        ".brik.gz",
    ): "convert it to NIfTI",
    (".jp2", ".j2k", ".heic", ".avif", ".gif", ".svg", ".pdf"): "save it as PNG",
}


def plain_picture(path: Path, config: ImportConfig, say: Say) -> Picture:
    """Read a file that holds one image; Refused when it is none, not whole, or too large.

    Values of more than 8 bits are shown by `--window` where one is given, else kept.
    """
    return picture_in(path.read_bytes(), path, config, say)


def picture_in(content: bytes, path: Path, config: ImportConfig, say: Say) -> Picture:
    """Read the bytes of a file of that name, which need not be on a disk."""
    if not content:
        raise Refused("the file is empty (0 bytes)")
    tiff = _tiff(content)
    with _no_limit_but_ours():
        image = _opened(path, tiff.content, config)
        with foreign(DAMAGED):
            turned = image.getexif().get(ORIENTATION, 1) != 1
            ImageOps.exif_transpose(image, in_place=True)  # a camera's "hold it this way up"
    bits = content[24] if image.format == "PNG" else tiff.bits
    if image.mode in DEEP_MODES and "transparency" not in image.info:
        array, how = _deep(image, tiff, config, say)
    else:
        with foreign(DAMAGED):
            array, how = np.asarray(_one_of_the_kept_modes(image)), None
        if bits > 8:
            say(f"{bits}-bit {'colour' if array.ndim == 3 else 'grey'} is read at 8 bits a channel")
    if image.format == "PNG" and image.mode in KEPT_MODES and not turned and how is None:
        if "transparency" not in image.info:
            return Picture(encoded=without_metadata(content), array=array)
    return Picture(encoded=png_bytes(array), array=array, how=how)


def without_metadata(png: bytes) -> bytes:
    """Return a PNG with the same compressed pixels and nothing that can name a person."""
    kept = [PNG_SIGNATURE]
    place = len(PNG_SIGNATURE)
    while place < len(png):
        length, name = struct.unpack_from(">I4s", png, place)
        end = place + length + 12  # length, name and checksum are 4 bytes each
        if name in PNG_CHUNKS:
            kept.append(png[place:end])
        place = end
        if name == b"IEND":
            break
    return b"".join(kept)


@contextmanager
def _no_limit_but_ours() -> Iterator[None]:
    """Pillow's own limit only warns at first; `check_size` refuses before anything is decoded."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@dataclass(frozen=True)
class _Tiff:
    """What a TIFF's first directory says of its values, and bytes that Pillow reads as they are."""

    content: bytes
    bits: int = 8
    is_negative: bool = False  # WhiteIsZero of more than 8 bits, which Pillow does not turn


def _tiff(content: bytes) -> _Tiff:
    """Look at a TIFF's directory; a deep WhiteIsZero is handed on as BlackIsZero, to be turned."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None:
        return _Tiff(content)
    try:
        (start,) = struct.unpack_from(order + "I", content, 4)
        (num,) = struct.unpack_from(order + "H", content, start)
        places = range(start + 2, start + 2 + 12 * num, 12)
        tags = {struct.unpack_from(order + "H", content, place)[0]: place for place in places}
        if BITS not in tags or PHOTOMETRIC not in tags:
            return _Tiff(content)
        (count,) = struct.unpack_from(order + "I", content, tags[BITS] + 4)
        place = tags[BITS] + 8  # its values, or where they are when they need more than 4 bytes
        if count > 2:
            (place,) = struct.unpack_from(order + "I", content, place)
        (bits,) = struct.unpack_from(order + "H", content, place)
        (kind,) = struct.unpack_from(order + "H", content, tags[PHOTOMETRIC] + 8)
    except struct.error:
        return _Tiff(content)  # reading it says what is wrong
    if kind != WHITE_IS_ZERO or bits <= 8:
        return _Tiff(content, bits)
    turned = bytearray(content)
    struct.pack_into(order + "H", turned, tags[PHOTOMETRIC] + 8, 1)
    return _Tiff(bytes(turned), bits, is_negative=True)


def _opened(path: Path, content: bytes, config: ImportConfig) -> Image.Image:
    is_png = content.startswith(PNG_SIGNATURE)  # opened as one, it says itself what is wrong
    try:
        with foreign(DAMAGED):
            checked = PngImageFile(BytesIO(content)) if is_png else _any_kind(content)
        check_size(checked.width * checked.height, config)
        if isinstance(checked, TiffImageFile):  # a tile is unpacked whole, however small the image
            with foreign(DAMAGED):
                tile = int(checked.tag_v2.get(TILE_WIDTH, 0)) * checked.tag_v2.get(TILE_LENGTH, 0)
            check_size(tile, config)
        with foreign(DAMAGED):
            num_frames = getattr(checked, "n_frames", 1)
            checked.verify()  # a PNG's checksums, to its end
            image = _any_kind(content)
            if num_frames == 1:
                image.load()
    except Refused as reason:
        if isinstance(reason.__cause__, UnidentifiedImageError):
            name = path.name.lower()
            advice = next((told for ends, told in ELSEWHERE.items() if name.endswith(ends)), "")
            raise Refused(
                f"{path.name} cannot be read here: {advice}"
                if advice
                else f"not an image of a known kind ({', '.join(FORMATS)}, DICOM, NIfTI)"
            ) from reason
        raise
    if num_frames > 1:
        raise Refused(f"{num_frames} images in one file: save each as a file of its own")
    return image


def _any_kind(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content), formats=FORMATS)


def _deep(
    image: Image.Image, tiff: _Tiff, config: ImportConfig, say: Say
) -> tuple[Array, dict[str, object] | None]:
    """Return 16-bit values as they are, or values of more than 8 bits in the window given."""
    with foreign(DAMAGED):
        values = np.asarray(image)
    if tiff.is_negative:
        values = (2**tiff.bits - 1) - values if values.dtype.kind in "iu" else -values
    if config.window != "header":
        limits = full_limits([values]) if config.window == "full" else given_limits(*config.window)
        return to_grey(finite_or_black(values, 0, say), *limits), shown_how(0, limits, None)
    if not image.mode.startswith("I;16"):
        raise Refused(
            f"pixels of kind {image.mode!r}: give --window, or save it as an 8- or 16-bit PNG, or "
            "as NIfTI"
        )
    low, high = int(values.min()), int(values.max())
    if high - low < NARROW:
        say(f"values {low} .. {high} of 0 .. 65535 are nearly one grey: --window full spreads them")
    return values.astype(np.uint16), None


def _one_of_the_kept_modes(image: Image.Image) -> Image.Image:
    if image.mode in KEPT_MODES and "transparency" not in image.info:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("CMYK", "YCbCr"):
        return image.convert("RGB")
    if image.mode not in ("P", "PA", "LA", "RGBA", "L", "RGB"):
        raise Refused(f"pixels of kind {image.mode!r}: save it as an 8- or 16-bit PNG, or as NIfTI")
    seen = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    if seen.getchannel("A").getextrema()[0] != 255:
        raise Refused("parts of it are transparent: save it without an alpha channel")
    return image.convert("L" if image.mode in ("L", "LA") else "RGB")
