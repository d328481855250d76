"""Who vouches for a file: a C2PA manifest in each synthetic PNG, signed with the user's own key.

The manifest says that the picture is made by a trained algorithm, by which version, prompt, seed
and settings (`item_key`), and hashes all other bytes of the file. It holds the time of signing, so
that the same release signed again has other bytes; `curate.samples.marks.unmarked` takes it off.
Specification: C2PA 2.1, https://c2pa.org/specifications.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError
from curate.samples.marks import SOURCE
from curate.samples.pixels import png_bytes

ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ed25519")  # by the kind of key
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
KEY = re.compile(
    rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----.+?-----END ([A-Z]+ )?PRIVATE KEY-----", re.DOTALL
)
# A thumbnail in each file is ten times the rest; files are read back when the seal is opened
QUICK = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}


class Seal:
    """A private key with its certificates, ready to sign."""

    def __init__(self, certificates: bytes, key: bytes, algorithm: str) -> None:
        """Raises the library's error when key, certificates and algorithm do not fit."""
        import c2pa

        self.algorithm, self._c2pa = algorithm, c2pa
        self._context = c2pa.Context.from_dict(QUICK)
        # as bytes: the library takes no texts here
        self._signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(algorithm.encode(), certificates, key, None)
        )

    def sealed(self, png: bytes, lineage: Mapping[str, Any]) -> bytes:
        """Return the PNG with a signed manifest behind its header; all else stays as it is."""
        action = {"action": "c2pa.created", "digitalSourceType": SOURCE}
        says = {
            "claim_generator_info": [{"name": "curate"}],
            "format": "image/png",
            "assertions": [
                {"label": "c2pa.actions", "data": {"actions": [action]}},
                {"label": "org.curate.lineage", "data": dict(lineage)},
            ],
        }
        written = io.BytesIO()
        with self._c2pa.Builder(says, self._context) as builder:
            builder.sign(self._signer, "image/png", io.BytesIO(png), written)
        return written.getvalue()

    def holds(self, png: bytes) -> bool:
        """Say whether the library's reader finds the signature good, trusted by anybody or not."""
        with self._c2pa.Reader("image/png", io.BytesIO(png)) as reader:
            return reader.get_validation_state() in ("Valid", "Trusted")


def open_seal(path: Path) -> Seal:
    """Return the seal of a PEM file with a private key and its certificates, the key's own first.

    A picture is signed and read back. Raises CurateError when that fails.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CurateError(f"--sign {path}: {error.strerror}. Name a PEM file.") from error
    certificates, key = b"".join(CERTIFICATE.findall(content)), KEY.search(content)
    if not certificates or key is None:
        raise CurateError(
            f"--sign {path}: needed: one PEM file with a private key and its certificate chain."
        )
    try:
        import c2pa
    except ImportError as error:
        raise CurateError("--sign needs C2PA: pip install 'curate-images[sign]'.") from error
    probe, said = png_bytes(np.zeros((8, 8), np.uint8)), ""
    for algorithm in ALGORITHMS:
        try:
            seal = Seal(certificates, key[0], algorithm)
            if seal.holds(seal.sealed(probe, {})):
                return seal
        except c2pa.C2paError as error:
            said = str(error)
    raise CurateError(
        f"--sign {path}: key and certificates do not sign as C2PA asks ({said[:200]}). "
        "The key's certificate needs the usage emailProtection or documentSigning, and must be no "
        "authority's."
    )
