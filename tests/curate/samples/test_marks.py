import gzip
import hashlib
import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from curate.image_service.picture import PictureFormat
from curate.samples.formats import decode, encode
from curate.samples.marks import marked, says_synthetic, unmarked
from generators.sample import Sample

NAME = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def _picture(kind: str = "intensity") -> Sample:
    levels = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64) % 7
    return Sample(levels.astype(np.uint8), kind)  # type: ignore[arg-type]


def _volume() -> Sample:
    return Sample(np.arange(2 * 3 * 4, dtype=np.int16).reshape(1, 2, 3, 4), "HU", (1.0, 2.0, 3.0))


def test_pillow_reads_the_mark_of_a_png_as_xmp_and_the_pixels_are_the_same() -> None:
    content = encode(_picture()).content
    with Image.open(io.BytesIO(marked(content))) as image:
        image.load()
        described = image.getxmp()["xmpmeta"]["RDF"]["Description"]
        assert described["DigitalSourceType"] == NAME
        assert np.array_equal(np.asarray(image), _picture().array[0])
    assert len(marked(content)) - len(content) < 400  # bytes


def test_nibabel_reads_the_mark_of_a_volume_in_its_description() -> None:
    content = encode(_volume()).content
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(marked(content)))
    assert bytes(image.header["descrip"]).decode() == f"SYNTHETIC {NAME}"
    assert decode(marked(content)) == _volume()


@pytest.mark.parametrize("sample", [_picture(), _picture("labels"), _volume()])
def test_a_mark_comes_off_to_the_byte_and_is_put_on_once(sample: Sample) -> None:
    content = encode(sample).content
    assert marked(content) != content
    assert unmarked(marked(content)) == unmarked(content) == content
    assert marked(marked(content)) == marked(content)
    assert decode(marked(content)) == sample


def test_anything_else_is_not_marked() -> None:
    with pytest.raises(ValueError, match="neither a PNG nor"):
        marked(b"GIF89a")


def test_raters_see_the_same_bytes_of_a_marked_file() -> None:
    """What is shown is encoded anew, without metadata: equal length, real or synthetic."""
    content = encode(_picture()).content
    form = PictureFormat(64, 64, "L")
    shown = form.png(marked(content))
    other = form.png(encode(Sample(255 - _picture().array)).content)
    assert shown == form.png(content)
    assert len(shown) == len(other) and b"trainedAlgorithmic" not in shown
    assert hashlib.sha256(shown).digest() != hashlib.sha256(other).digest()


def test_a_marked_file_is_known_as_such_in_each_format(tmp_path: Path) -> None:
    files = {
        "image.png": marked(encode(_picture()).content),
        "volume.nii.gz": marked(encode(_volume()).content),
        "unpacked.nii": gzip.decompress(marked(encode(_volume()).content)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert says_synthetic(tmp_path / name), name
    # the mark of another program: an XMP packet in a JPEG, as Pillow writes it
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{NAME}</x:xmpmeta>'.encode()
    picture = Image.fromarray(_picture().array[0])
    picture.save(tmp_path / "other.jpg", xmp=xmp)
    assert says_synthetic(tmp_path / "other.jpg")
    part = NAME.replace("trained", "compositeWithTrained").encode()  # a photograph, retouched
    picture.save(tmp_path / "retouched.jpg", xmp=part)
    picture.save(tmp_path / "plain.jpg")
    assert not says_synthetic(tmp_path / "retouched.jpg")
    assert not says_synthetic(tmp_path / "plain.jpg")
    assert not says_synthetic(tmp_path / "none.jpg")


def test_a_dicom_file_of_synthetic_data_is_known_as_such(tmp_path: Path) -> None:
    for value in ("YES", "NO"):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SyntheticData = value
        dataset.save_as(tmp_path / f"{value}.dcm", enforce_file_format=True)
    assert says_synthetic(tmp_path / "YES.dcm")
    assert not says_synthetic(tmp_path / "NO.dcm")
