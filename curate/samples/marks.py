"""The mark of a synthetic file: machine-readable, in words of the IPTC, without a changed pixel.

A PNG gets an XMP packet behind its header, a NIfTI a line in its header's `descrip`. Files are
marked when they leave; the store keeps them as they were made.
"""

import gzip
import struct
import zlib
from pathlib import Path

from curate.samples.formats import GZIP_HEADER, gzipped

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE}"/>'
    "</rdf:RDF></x:xmpmeta>"
)
WORD = b"/digitalsourcetype/trainedAlgorithmicMedia"
# DICOM's (0008,001C) SyntheticData YES, little endian, with its value representation and without
SYNTHETIC_DATA = (b"\x08\x00\x1c\x00CS\x04\x00YES ", b"\x08\x00\x1c\x00\x04\x00\x00\x00YES ")
HEAD = 2**18  # bytes in which a mark stands
SEAL = b"caBX"  # the type of a PNG's chunk that holds a C2PA manifest
PNG_HEADER = 33  # bytes: the signature and IHDR, which is always first
DESCRIP = slice(148, 228)  # bytes of a NIfTI-1 header


def marked(content: bytes) -> bytes:
    """Return a PNG or a gzipped NIfTI that says that it is synthetic; marked twice is marked once.

    Raises ValueError for anything else.
    """
    plain = unmarked(content)
    if is_png(plain):
        return plain[:PNG_HEADER] + _xmp_chunk() + plain[PNG_HEADER:]
    return _described(plain, f"SYNTHETIC {SOURCE}".encode())


def is_png(content: bytes) -> bool:
    """Say whether a file begins as a PNG does."""
    return content[:4] == b"\x89PNG"


def unmarked(content: bytes) -> bytes:
    """Return the file as it was before `marked`, and before it was signed; else as it is."""
    if is_png(content):
        rest = content[PNG_HEADER:]
        if rest[4:8] == SEAL:  # length, type, content and checksum
            rest = rest[12 + int.from_bytes(rest[:4], "big") :]
        return content[:PNG_HEADER] + rest.removeprefix(_xmp_chunk())
    return _described(content, b"")


def says_synthetic(path: Path) -> bool:
    """Say whether a file's head names itself synthetic: by IPTC's word, or DICOM's SyntheticData.

    PNG, JPEG, TIFF and WebP with an XMP packet, NIfTI and DICOM, gzipped or not.
    """
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == GZIP_HEADER[:2]
        with gzip.open(path) if is_packed else path.open("rb") as file:
            head = file.read(HEAD)
    except (OSError, EOFError, zlib.error):  # whoever reads it says what is wrong
        return False
    return WORD in head or any(data_element in head for data_element in SYNTHETIC_DATA)


def _xmp_chunk() -> bytes:
    """Return the PNG chunk that holds the XMP packet, laid out as XMP's part 3 says."""
    body = b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + XMP.encode()  # not compressed, no language
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _described(content: bytes, says: bytes) -> bytes:
    """Return a NIfTI with these bytes as its description; the same file if it is so already."""
    if content[:2] != GZIP_HEADER[:2]:
        raise ValueError("neither a PNG nor a gzipped NIfTI")
    plain = bytearray(zlib.decompress(content, wbits=31))
    described = says.ljust(80, b"\0")
    if plain[DESCRIP] == described:
        return content
    plain[DESCRIP] = described
    return gzipped(bytes(plain))
