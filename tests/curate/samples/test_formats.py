import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from curate.errors import CurateError
from curate.samples.formats import NIFTI, PNG, decode, encode, pixels_of
from curate.samples.pixels import array_of, png_bytes
from generators.sample import Affine, Kind, Sample

OBLIQUE: Affine = (
    (-1.1, 0.2, 0.0, 12.3),
    (0.2, 1.1, 0.1, -40.0),
    (0.0, -0.1, 5.0, 1 / 3),
    (0.0, 0.0, 0.0, 1.0),
)


def numbers(dtype: str, *shape: int) -> np.ndarray[Any, Any]:
    values = np.arange(np.prod(shape)).reshape(shape)
    if dtype == "float32":
        return (values / values.size).astype(np.float32)
    return (values * 37 - (1000 if dtype == "int16" else 0)).astype(dtype)


SAMPLES = [
    (Sample(numbers("uint8", 1, 5, 4)), PNG),
    (Sample(numbers("uint8", 3, 5, 4)), PNG),
    (Sample(numbers("uint16", 1, 5, 4)), PNG),
    (Sample(numbers("uint8", 1, 5, 4) % 4, "labels"), PNG),
    (Sample(numbers("uint16", 1, 5, 4), "labels"), PNG),
    (Sample(numbers("uint16", 3, 5, 4)), NIFTI),
    (Sample(numbers("float32", 1, 5, 4)), NIFTI),
    (Sample(numbers("uint8", 1, 5, 4), spacing_mm=(0.7, 0.1)), NIFTI),
    (Sample(numbers("uint8", 3, 5, 4), affine=OBLIQUE), NIFTI),
    (Sample(numbers("int16", 1, 5, 4), "HU"), NIFTI),
    (Sample(numbers("uint8", 1, 1, 5, 4)), NIFTI),  # one slice is not a picture
    (Sample(numbers("uint8", 3, 2, 5, 4)), NIFTI),
    (Sample(numbers("uint16", 1, 2, 5, 4), "labels", (5.0, 1.14, 1.14), OBLIQUE), NIFTI),
    (Sample(numbers("int16", 1, 2, 5, 4), "HU", (5.0, 1.14, 1.14), OBLIQUE), NIFTI),
    (Sample(numbers("float32", 1, 2, 5, 4), "HU"), NIFTI),
]


@pytest.mark.parametrize(("sample", "media_type"), SAMPLES)
def test_a_file_gives_back_its_sample(sample: Sample, media_type: str) -> None:
    encoded = encode(sample)
    assert encoded.media_type == media_type
    assert decode(encoded.content, media_type) == sample
    assert decode(encoded.content) == sample  # a file says itself what it is
    again = Sample(sample.array.copy(), sample.kind, sample.spacing_mm, sample.affine)
    assert encode(again).content == encoded.content


def test_samples_that_differ_have_other_bytes() -> None:
    assert len({encode(sample).content for sample, _ in SAMPLES}) == len(SAMPLES)


@pytest.mark.parametrize("array", [numbers("uint8", 5, 4), numbers("uint8", 5, 4, 3)])
def test_pictures_keep_the_bytes_they_always_had(array: np.ndarray[Any, Any]) -> None:
    sample = decode(png_bytes(array))
    assert encode(sample).content == png_bytes(array)
    assert np.array_equal(pixels_of(sample), array)


def test_nibabel_reads_voxels_place_and_meaning(tmp_path: Path) -> None:
    array = numbers("int16", 1, 2, 5, 4)
    file = tmp_path / f"ct{encode(Sample(array, 'HU')).extension}"
    file.write_bytes(encode(Sample(array, "HU", affine=OBLIQUE)).content)
    image = nibabel.Nifti1Image.from_filename(file)
    assert image.shape == (4, 5, 2)  # x, y, z
    assert image.get_fdata()[3, 1, 1] == array[0, 1, 1, 3]
    assert np.allclose(image.affine, OBLIQUE, atol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_spacing_alone_is_the_voxels_size() -> None:
    content = encode(Sample(numbers("uint8", 1, 2, 5, 4), spacing_mm=(5.0, 0.5, 0.25))).content
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    assert image.header.get_zooms() == (0.25, 0.5, 5.0)


def test_the_gzip_header_names_no_file_and_no_time() -> None:
    content = encode(Sample(numbers("int16", 1, 5, 4), "HU")).content
    assert content[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@pytest.mark.parametrize(("sample", "media_type"), [SAMPLES[0], SAMPLES[13]])
def test_a_torn_file_is_refused_in_one_line(sample: Sample, media_type: str) -> None:
    content = encode(sample).content
    with pytest.raises(CurateError, match="not a whole"):
        decode(content[: len(content) // 2], media_type)


def test_a_volume_that_does_not_say_what_it_is_is_refused() -> None:
    foreign = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes()
    with pytest.raises(CurateError, match="not a whole volume"):
        decode(gzip.compress(foreign))


def test_transparency_and_single_bits() -> None:
    clear = np.dstack([numbers("uint8", 5, 4, 3), np.full((5, 4), 9, np.uint8)])
    assert np.array_equal(decode(png_bytes(clear)).array, np.moveaxis(clear[..., :3], 2, 0))
    bits = numbers("uint8", 5, 4) % 2 == 1
    assert array_of(png_bytes(bits)).dtype == bool
    assert set(np.unique(decode(png_bytes(bits)).array)) == {0, 255}


@pytest.mark.parametrize("kind", ["intensity", "labels"])
def test_a_picture_of_classes_is_told_from_one_of_levels(kind: Kind) -> None:
    sample = Sample(numbers("uint8", 1, 5, 4), kind)
    assert decode(encode(sample).content).kind == kind
