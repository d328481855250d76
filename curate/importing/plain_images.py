"""PNG, JPEG, TIFF, BMP and WebP files.

A PNG stays the file it is, grey and 16-bit ones too, less any text, time or EXIF in it and whatever
follows its end. Palettes, opaque alpha and other formats become the PNG of their pixels.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from curate.importing.config import ImportConfig
from curate.importing.errors import Refused
from curate.importing.picture import Picture, Say, check_size
from curate.samples.pixels import png_bytes

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
# What a PNG may keep: pixels and colour. Text, EXIF, times and private chunks may name a patient.
PNG_CHUNKS = (
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA"),
    *(b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"pHYs", b"bKGD"),
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT_MODES = ("L", "RGB", "I;16")


def plain_picture(path: Path, config: ImportConfig, say: Say) -> Picture:
    """Read a file that holds one image; Refused when it is none, not whole, or too large."""
    content = path.read_bytes()
    if not content:
        raise Refused("the file is empty (0 bytes)")
    with _no_limit_but_ours():
        image = _opened(content, config)
    if image.format == "PNG" and image.mode in KEPT_MODES and "transparency" not in image.info:
        if content[24] == 16 and image.mode == "RGB":  # the header's bit depth
            say("16-bit colour is kept whole, but read at 8 bits a channel")
        return Picture(encoded=without_metadata(content), array=np.asarray(image))
    array = np.asarray(_one_of_the_kept_modes(image))
    return Picture(encoded=png_bytes(array), array=array)


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


def _opened(content: bytes, config: ImportConfig) -> Image.Image:
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as checked:
            check_size(checked.width * checked.height, config)
            num_frames = getattr(checked, "n_frames", 1)
            checked.verify()  # a PNG's checksums, to its end
        if num_frames > 1:
            raise Refused(f"{num_frames} images in one file: save each as a file of its own")
        image = Image.open(BytesIO(content), formats=FORMATS)
        image.load()
    except UnidentifiedImageError as error:
        raise Refused(f"not an image of a known kind ({', '.join(FORMATS)})") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"the image is damaged or cut short ({error})") from error
    return image


def _one_of_the_kept_modes(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)  # a camera's "hold it this way up"
    if image.mode in KEPT_MODES and "transparency" not in image.info:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "I;16B":
        return image.convert("I;16")
    if image.mode in ("P", "PA", "LA", "RGBA", "L", "RGB"):
        return _opaque(image)
    if image.mode in ("CMYK", "YCbCr"):
        return image.convert("RGB")
    raise Refused(f"pixels of kind {image.mode!r}: save it as an 8- or 16-bit PNG, or as NIfTI")


def _opaque(image: Image.Image) -> Image.Image:
    seen = image.convert("RGBA")
    if seen.getchannel("A").getextrema()[0] != 255:
        raise Refused("parts of it are transparent: save it without an alpha channel")
    return image.convert("L" if image.mode in ("L", "LA") else "RGB")
