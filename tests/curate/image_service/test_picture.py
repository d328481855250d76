import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from curate.image_service.picture import (
    PictureFormat,
    StudyImage,
)
from curate.samples.formats import encode
from curate.samples.spoiling import SPOILINGS
from generators.sample import Sample
from tests.curate.image_service.png import chunk_names

GREY = PictureFormat(24, 16, "L")


def encoded(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def shown(array: np.ndarray, form: PictureFormat = GREY) -> np.ndarray:
    with Image.open(io.BytesIO(form.png(encoded(array)))) as image:
        assert image.mode == form.mode
        return np.asarray(image)


def test_equal_dimensions_mean_equal_length_whatever_the_picture() -> None:
    random = np.random.default_rng(0)
    flat = np.zeros((16, 24), np.uint8)
    noise = random.integers(0, 256, (16, 24), dtype=np.uint8)
    large = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    for form in (GREY, PictureFormat(24, 16, "RGB")):
        lengths = {len(form.png(encoded(a))) for a in (flat, noise, large)}
        assert len(lengths) == 1


def test_an_image_of_the_studys_size_keeps_every_pixel() -> None:
    array = np.random.default_rng(0).integers(0, 256, (16, 24), dtype=np.uint8)
    assert np.array_equal(shown(array), array)


def test_no_metadata_passes() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "diffusion model 3")
    exif = Image.Exif()
    exif[0x010E] = "synthetic"
    array = np.zeros((16, 24), np.uint8)
    with_metadata = encoded(array, pnginfo=text, exif=exif, dpi=(300, 300), icc_profile=b"x" * 128)
    assert {b"tEXt", b"eXIf", b"pHYs", b"iCCP"} <= chunk_names(with_metadata)
    assert chunk_names(GREY.png(with_metadata)) == {b"IHDR", b"IDAT", b"IEND"}


def test_sixteen_bits_become_eight_over_the_whole_range() -> None:
    ramp = np.linspace(0, 65_535, 16 * 24).round().astype(np.uint16).reshape(16, 24)
    found = shown(ramp)
    assert (found.min(), found.max()) == (0, 255)
    assert np.abs(found - ramp / 257).max() <= 0.51


def test_another_size_gives_its_central_part_in_the_studys_proportions() -> None:
    wide = np.zeros((32, 96), np.uint8)
    wide[:, 24:72] = 200  # the central 48 x 32 are 3 : 2, as the study
    found = shown(wide)
    assert found.shape == (16, 24) and (found[:, 3:-3] == 200).all()
    assert found.min() > 150  # at the very edge the filter sees a little of what is outside


def test_transparency_is_dropped() -> None:
    array = np.full((16, 24, 4), 9, np.uint8)
    assert shown(array, PictureFormat(24, 16, "RGB")).shape == (16, 24, 3)


def test_the_generators_size_is_the_studys() -> None:
    real = [StudyImage("real", (1, 512, 400))] * 5
    synthetic = [StudyImage("synthetic", (1, 64, 64))] * 2 + [StudyImage("synthetic", (1, 32, 32))]
    assert PictureFormat.of(real + synthetic) == PictureFormat(64, 64, "L")
    assert PictureFormat.of(real) == PictureFormat(400, 512, "L")
    assert PictureFormat.of([*real, StudyImage("synthetic", (3, 64, 64))]).mode == "RGB"


@pytest.mark.parametrize("kind", SPOILINGS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_spoiled_control_looks_wrong_always_alike_and_weighs_the_same(
    kind: str, mode: str
) -> None:
    y, x = np.mgrid[0:48, 0:48]
    array = (127 + 60 * np.sin(x / 2) + 60 * (y / 47)).clip(0, 255).astype(np.uint8)
    form = PictureFormat(48, 48, mode)
    plain = form.png(encoded(array))
    spoiled = form.png(encoded(array), spoiled=kind)
    assert spoiled == form.png(encoded(array), spoiled=kind)
    assert len(spoiled) == len(plain)
    with Image.open(io.BytesIO(plain)) as one, Image.open(io.BytesIO(spoiled)) as other:
        gap = np.asarray(one).astype(float) - np.asarray(other)
    assert np.abs(gap).mean() > 15  # of 255 levels


def test_raters_see_a_volume_as_a_montage_of_its_slices() -> None:
    steps = np.arange(8, dtype=np.int16).reshape(1, 8, 1, 1) * 100 - 1000
    volume = Sample(np.broadcast_to(steps, (1, 8, 4, 5)), "HU")
    form = PictureFormat.of([StudyImage("synthetic", volume.array.shape)])
    assert form == PictureFormat(15, 12, "L")  # three rows of three slices
    with Image.open(io.BytesIO(form.png(encode(volume).content))) as picture:
        greys = np.asarray(picture)[::4, ::5].ravel().tolist()
    assert greys == [0, 13, 26, 38, 51, 64, 76, 89, 0]  # -1,000 .. 1,000 HU; no ninth slice


def test_generated_classes_are_as_far_apart_as_those_of_a_mask() -> None:
    classes = Sample(np.arange(4, dtype=np.uint16).reshape(1, 2, 2), "labels")
    form = PictureFormat(2, 2, "L")
    with Image.open(io.BytesIO(form.png(encode(classes).content))) as picture:
        greys = sorted(np.asarray(picture).ravel().tolist())
    assert greys[0] == 0 and min(np.diff(greys)) >= 30
