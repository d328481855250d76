"""Image files: what is kept as it is, what is converted, what is refused before it does harm."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from curate.importing.config import ImportConfig
from curate.importing.errors import Refused
from curate.importing.picture import Picture
from curate.importing.plain_images import plain_picture, without_metadata
from curate.samples.pixels import array_of

GREY = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
DEEP = np.random.default_rng(2).integers(0, 65536, (9, 7), dtype=np.uint16)

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def to_file(image: Image.Image, name: str, **options: Any) -> Path:
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return to_file


def opened(path: Path, **config: float) -> Picture:
    return plain_picture(path, ImportConfig(**config), lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("array", [GREY, COLOUR, DEEP], ids=["grey", "colour", "16-bit"])
def test_a_clean_png_is_kept_byte_for_byte(save: Save, array: np.ndarray) -> None:
    path = save(Image.fromarray(array), "a.png")
    picture = opened(path)
    assert picture.encoded == path.read_bytes()
    assert picture.array.dtype == array.dtype
    assert np.array_equal(picture.array, array)


def test_text_times_and_exif_in_a_png_are_dropped_and_its_pixels_kept(save: Save) -> None:
    about = PngImagePlugin.PngInfo()
    about.add_text("PatientName", "DOE^JANE")
    about.add_itxt("Comment", "DOE^JANE")
    exif = Image.Exif()
    exif[0x010E] = "DOE^JANE"
    path = save(Image.fromarray(DEEP), "a.png", pnginfo=about, exif=exif)
    path.write_bytes(path.read_bytes() + b"DOE^JANE after the end")
    assert b"DOE^JANE" in path.read_bytes()
    picture = opened(path)
    assert b"DOE^JANE" not in picture.encoded
    assert np.array_equal(array_of(picture.encoded), DEEP)


def test_dropping_metadata_leaves_compressed_pixels_as_they_are(save: Save) -> None:
    content = save(Image.fromarray(GREY), "a.png", compress_level=9).read_bytes()
    assert without_metadata(content) == content


def test_a_jpeg_is_kept_as_the_png_of_its_pixels_the_right_way_up(save: Save) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter to show
    exif[0x010E] = "DOE^JANE"
    path = save(Image.fromarray(COLOUR), "a.jpg", exif=exif)
    picture = opened(path)
    with Image.open(path) as image:
        assert np.array_equal(picture.array, np.rot90(np.asarray(image), -1))
    assert picture.encoded.startswith(b"\x89PNG")
    assert b"DOE^JANE" not in picture.encoded


def test_a_palette_an_opaque_alpha_and_a_bitmap_become_plain_pixels(save: Save) -> None:
    palette = save(Image.fromarray(COLOUR).quantize(16), "p.png")
    assert opened(palette).array.shape == (9, 7, 3)
    assert np.array_equal(array_of(opened(palette).encoded), opened(palette).array)
    alpha = Image.fromarray(GREY).convert("LA")
    assert np.array_equal(opened(save(alpha, "la.png")).array, GREY)
    bits = save(Image.fromarray(GREY).convert("1"), "1.png")
    assert set(np.unique(opened(bits).array)) == {0, 255}


def test_a_transparent_image_is_refused(save: Save) -> None:
    image = Image.fromarray(COLOUR).convert("RGBA")
    image.putpixel((0, 0), (1, 2, 3, 100))
    with pytest.raises(Refused, match="transparent"):
        opened(save(image, "a.png"))


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_short_is_refused(save: Save, name: str, kept: float) -> None:
    large = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = save(Image.fromarray(large), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(Refused, match="damaged or cut short|not an image"):
        opened(path)


def test_a_png_with_one_altered_byte_is_refused(save: Save) -> None:
    path = save(Image.fromarray(GREY), "a.png")
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refused, match="damaged"):
        opened(path)


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(Refused, match="not an image of a known kind"):
        opened(tmp_path / "a.png")


def chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    side = 60_000  # 3.6 gigapixels in some hundred kB
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(png)
    with pytest.raises(Refused, match="3600 megapixels, above the limit of 100"):
        opened(tmp_path / "bomb.png")


def test_a_small_tiff_of_a_huge_tile_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """The image is 64 x 64; its one tile of 32,000 x 32,000 would be unpacked whole."""
    tile = zlib.compress(bytes(10_000))
    values = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 32_000, 323: 32_000}
    start = 8 + 2 + 12 * (len(values) + 2) + 4
    tags = [(tag, 3, value) for tag, value in values.items()]
    tags += [(324, 4, start), (325, 4, len(tile))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    (tmp_path / "bomb.tif").write_bytes(head + entries + bytes(4) + tile)
    with pytest.raises(Refused, match="1024 megapixels, above the limit of 100"):
        opened(tmp_path / "bomb.tif")


def test_the_limit_on_size_can_be_set(save: Save) -> None:
    path = save(Image.fromarray(GREY), "a.png")
    with pytest.raises(Refused, match="--max-megapixels"):
        opened(path, max_megapixels=0.00001)


def test_a_file_of_several_images_is_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(GREY[::-1])]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(Refused, match="2 images in one file"):
        opened(tmp_path / "a.tiff")


def test_floating_point_pixels_are_refused_with_what_to_do(save: Save) -> None:
    path = save(Image.fromarray(GREY.astype(np.float32)), "a.tiff")
    with pytest.raises(Refused, match="save it as an 8- or 16-bit PNG"):
        opened(path)


def test_16_bit_colour_is_kept_whole_and_said_to_be_read_at_8_bits(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"\x00" + bytes(range(12)))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    notes: list[str] = []
    picture = plain_picture(tmp_path / "a.png", ImportConfig(), notes.append)
    assert picture.encoded == png
    assert "16-bit colour" in notes[0]
    assert Image.open(BytesIO(picture.encoded)).size == (2, 1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_negative", [False, True])
def test_deep_tiffs_keep_their_values_whatever_their_byte_order(
    tmp_path: Path, order: str, is_negative: bool
) -> None:
    content = tiff(DEEP, order, photometric=0 if is_negative else 1)
    (tmp_path / "a.tif").write_bytes(content)
    wanted = 65535 - DEEP if is_negative else DEEP
    picture = opened(tmp_path / "a.tif")
    assert picture.array.dtype == np.uint16 and np.array_equal(picture.array, wanted)
    assert np.array_equal(array_of(picture.encoded), wanted)


def tiff(values: np.ndarray, order: str, *, photometric: int) -> bytes:
    """Return an uncompressed 16-bit TIFF of one strip, by TIFF 6.0, section 2."""
    height, width = values.shape
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: photometric, 273: 8 + 2 + 8 * 12 + 4}
    tags |= {277: 1, 278: height, 279: 2 * values.size}
    start = 8 + 2 + len(tags) * 12 + 4
    tags[273] = start
    entries = b"".join(
        struct.pack(order + "HHI", tag, 4, 1) + struct.pack(order + "I", value)
        if tag in (273, 279)
        else struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
        for tag, value in sorted(tags.items())
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    directory = struct.pack(order + "H", len(tags)) + entries + bytes(4)
    return head + directory + values.astype(order + "u2").tobytes()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_orientation_is_followed_in_every_format(save: Save, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"lossless": True} if name == "a.webp" else {}
    path = save(Image.fromarray(COLOUR), name, exif=exif, **options)
    picture = opened(path)
    assert np.array_equal(picture.array, np.rot90(COLOUR, -1))
    assert np.array_equal(array_of(picture.encoded), picture.array)


def test_values_in_a_small_part_of_16_bits_are_noted_and_spread_by_a_window(save: Save) -> None:
    path = save(Image.fromarray(DEEP >> 4), "a.png")
    notes: list[str] = []
    kept = plain_picture(path, ImportConfig(), notes.append)
    assert np.array_equal(kept.array, DEEP >> 4) and "nearly one grey" in notes[0]
    shown = opened(path, window=(2048.0, 4096.0))  # type: ignore[arg-type]
    low, high = 2048 - 0.5 - 4095 / 2, 2048 - 0.5 + 4095 / 2
    wanted = np.rint(np.clip(((DEEP >> 4) - low) / (high - low), 0, 1) * 255)
    assert np.array_equal(shown.array, wanted) and shown.array.dtype == np.uint8
    assert shown.how == {"slice": 0, "black": 0.0, "white": 4095.0, "unit": None}


def test_floating_point_pixels_go_in_by_a_window(save: Save) -> None:
    values = np.linspace(0, 1, 63, dtype=np.float32).reshape(9, 7)
    path = save(Image.fromarray(values), "a.tiff")
    shown = opened(path, window=(0.5, 1.0))  # type: ignore[arg-type]
    assert np.array_equal(shown.array, np.rint(values * 255))


def test_a_wrong_checksum_is_the_reason_and_not_the_kind(save: Save) -> None:
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", "hello")
    path = save(Image.fromarray(GREY), "a.png", pnginfo=about)
    path.write_bytes(path.read_bytes().replace(b"hello", b"hallo"))
    with pytest.raises(Refused, match=r"damaged or cut short \(broken PNG file .*tEXt"):
        opened(path)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("a.mgz", "mri_convert"), ("a.dcm.gz", "unpack it"), ("a.img", "one of a pair of files")],
)
def test_a_known_kind_that_is_not_read_is_refused_with_what_to_do(
    tmp_path: Path, name: str, advice: str
) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b something")
    with pytest.raises(Refused, match=advice):
        opened(tmp_path / name)
