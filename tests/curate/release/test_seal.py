"""`--sign`: each synthetic PNG of a release is signed, read by the library's own reader."""

import datetime as dt
import hashlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from curate.errors import CurateError
from curate.release.config import ExportConfig
from curate.release.manifest import read_manifest
from curate.release.publish import export_release
from curate.release.seal import open_seal
from curate.release.verify import verify_release
from curate.samples.formats import read_sample
from curate.samples.marks import marked, says_synthetic, unmarked
from curate.samples.pixels import png_bytes

pytestmark = pytest.mark.apart


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's own authority, and a key that it has signed."""
    pytest.importorskip("c2pa", reason="no C2PA here: pip install 'curate-images[sign]'")
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = dt.datetime.now(dt.UTC)
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(name: str, key: Any, *, is_authority: bool) -> bytes:
        usages = dict.fromkeys(
            ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement"], False
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(x509, name))
            .issuer_name(_name(x509, "authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
                critical=False,
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=is_authority,
                    crl_sign=is_authority,
                    encipher_only=False,
                    decipher_only=False,
                    **usages,
                ),
                critical=True,
            )
        )
        if not is_authority:
            mail = x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION
            builder = builder.add_extension(x509.ExtendedKeyUsage([mail]), critical=False)
        signed = builder.sign(authority, hashes.SHA256())
        return bytes(signed.public_bytes(serialization.Encoding.PEM))

    file = tmp_path_factory.mktemp("key") / "key.pem"
    file.write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate("curate", own, is_authority=False)
        + certificate("authority", authority, is_authority=True)
    )
    return file


def _name(x509: Any, common: str) -> Any:
    oid = x509.oid.NameOID
    names = (oid.ORGANIZATION_NAME, "hospital"), (oid.COMMON_NAME, common)
    return x509.Name([x509.NameAttribute(*one) for one in names])


def _read(content: bytes) -> tuple[str, dict[str, Any]]:
    import c2pa

    with c2pa.Reader("image/png", io.BytesIO(content)) as reader:
        return reader.get_validation_state(), json.loads(reader.json())


def test_a_signed_release_is_read_by_the_librarys_reader_and_keeps_its_promises(
    story: Any, pem: Path, tmp_path: Path
) -> None:
    from curate.progress import progress

    config = ExportConfig(threshold=0.35, sign=pem)
    folder = export_release(story.ws, tmp_path / "release", config, progress).folder
    manifest = read_manifest(folder)
    assert manifest.images
    for image in manifest.images:
        content = (folder / image.path).read_bytes()
        state, said = _read(content)
        assert state == "Valid"
        [own] = said["manifests"].values()
        told = {one["label"]: one["data"] for one in own["assertions"]}
        lineage = told["org.curate.lineage"]
        assert lineage["item_key"] == image.item_key and lineage["seed"] == image.seed
        [action] = told["c2pa.actions.v2"]["actions"]
        assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
        assert unmarked(content) == story.ws.store.get(image.stored_sha256)
        assert says_synthetic(folder / image.path)
        with Image.open(io.BytesIO(content)) as opened:
            opened.verify()
        changed = bytearray(content)
        changed[-20] ^= 1
        assert _read(bytes(changed))[0] == "Invalid"
    found = verify_release(
        folder,
        make_again=lambda images: (read_sample(story.ws.store, i.stored_sha256) for i in images),
        num_again=3,
    )
    assert found.ok and found.made_again is not None and found.made_again.num_same_files == 3
    alone = subprocess.run(
        [sys.executable, "verify.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert alone.returncode == 0, alone.stdout
    assert str(pem) not in (folder / "manifest.json").read_text()


def test_a_signature_costs_little(pem: Path) -> None:
    seal = open_seal(pem)
    png = marked(png_bytes(np.random.default_rng(0).integers(0, 255, (128, 128), np.uint8)))
    lineage = {"item_key": hashlib.sha256(b"key").hexdigest(), "seed": 7}
    began = time.process_time()
    sealed = [seal.sealed(png, lineage) for _ in range(100)]
    a_signature = (time.process_time() - began) / 100
    print(f"{1000 * a_signature:.2f} ms of processor time, {len(sealed[0]) - len(png):,} bytes")
    assert len(sealed[0]) - len(png) < 5_000
    assert a_signature < 0.002 * 3  # the bar is 2 ms on an idle machine


def test_what_is_no_key_is_said_before_anything_is_chosen(
    story: Any, pem: Path, tmp_path: Path
) -> None:
    from curate.progress import progress

    halves = pem.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    wrong = {
        "nothing.pem": (None, "Name a PEM file"),
        "key.pem": (halves[0], "certificate chain"),
        "authority.pem": (
            halves[0] + b"-----BEGIN " + halves[2].rpartition(b"-----BEGIN ")[2],
            "C2PA asks",
        ),
    }
    for name, (content, said) in wrong.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CurateError, match=said):
            config = ExportConfig(threshold=0.35, sign=tmp_path / name)
            export_release(story.ws, tmp_path / "release", config, progress)
    assert not (tmp_path / "release").exists()
    with pytest.raises(CurateError, match="--no-mark"):
        ExportConfig(sign=pem, mark=False)
