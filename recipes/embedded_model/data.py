"""The real images and phrases that the embedded model learns from.

Shapes: B images, H = W = `CANVAS` pixels when stored, `SIZE` pixels when handed to a network.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from recipes.set_aside import is_set_aside

SIZE = 128  # pixels, the model's native side
CANVAS = 160  # pixels of the stored short side: room for random crops and turns

SHIPPED_SOURCES = (  # licences that allow weights trained on them to be shipped
    "OCTDL",
    "IDRiD",
    "COVID-19 Image Repository (Hannover Medical School)",
    "Kermany chest X-ray (resized copy)",
    "IQ-OTH/NCCD",
    "Vestibular-Schwannoma-SEG (TCIA)",
    "Brain Tumor MRI Dataset (Nickparvar)",
)

# What people call each finding. Training draws one at random, so that a prompt need not repeat the
# wording of one dataset. No phrase names a modality: that is the modality part's job.
PHRASES: dict[str, tuple[str, ...]] = {
    "amd": ("age-related macular degeneration", "drusen", "AMD", "amd, drusen"),
    "dme": ("diabetic macular edema", "DME", "macular edema with intraretinal fluid"),
    "erm": ("epiretinal membrane", "ERM"),
    "rvo": ("retinal vein occlusion", "RVO"),
    "rao": ("retinal artery occlusion", "RAO"),
    "vid": ("vitreomacular interface disease", "vitreomacular traction", "VID"),
    "normal": ("normal", "healthy", "no pathology", "no finding"),
    "no_tumour": ("normal", "no tumour", "healthy", "no tumor"),
    "glioma": ("glioma", "tumour, glioma"),
    "meningioma": ("meningioma", "tumour, meningioma"),
    "pituitary": ("pituitary tumour", "pituitary adenoma", "pituitary tumor"),
    "vestibular_schwannoma_patient": ("vestibular schwannoma",),
    "covid19_icu": ("COVID-19, in intensive care", "COVID-19 pneumonia, severe", "COVID-19"),
    "covid19_non_icu": ("COVID-19, no intensive care", "COVID-19 pneumonia, mild", "COVID-19"),
    "bacterial_pneumonia": ("paediatric, bacterial pneumonia", "bacterial pneumonia"),
    "viral_pneumonia": ("paediatric, viral pneumonia", "viral pneumonia"),
    "benign": ("benign nodule", "benign finding"),
    "malignant": ("malignant lung cancer", "malignant", "lung cancer"),
    "dr0": ("normal", "no diabetic retinopathy", "retinopathy grade 0", "healthy"),
    "dr1": ("mild non-proliferative diabetic retinopathy", "retinopathy grade 1"),
    "dr2": ("moderate non-proliferative diabetic retinopathy", "retinopathy grade 2"),
    "dr3": ("severe non-proliferative diabetic retinopathy", "retinopathy grade 3"),
    "dr4": ("proliferative diabetic retinopathy", "retinopathy grade 4"),
}

MODALITY_WORDS = re.compile(
    r"\b(macular OCT B-scan|OCT|colour fundus photograph|fundus|chest x-ray|chest CT|brain MRI"
    r"|MRI|CT|x-ray|axial slice|lung window)\b[,.]?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RealImage:
    """One row of the training table: an image of the canvas size and what is known about it."""

    pixels: NDArray[np.uint8]  # uint8 [H, W, 3], short side `CANVAS`
    modality: str
    label: str
    caption: str  # the source's own words
    patient: str
    source: str
    split: str  # "train", "aside" or "val", by patient


def without_modality_words(caption: str) -> str:
    """Return the caption with the words that name its modality removed."""
    stripped = MODALITY_WORDS.sub("", caption).strip(" .,")
    return re.sub(r"^of (the )?", "", stripped)


def load_real_images(folder: Path, *, split: str | None = None) -> list[RealImage]:
    """Read the shippable rows of `folder/data.csv`; `split` keeps "train", "aside" or "val" only.

    "aside" are the table's train rows of the patients set aside: they only measure, as the
    validation rows do, and are not among "train".
    """
    images = []
    with (folder / "data.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train" and is_set_aside(row["patient"]):
                row["split"] = "aside"
            if row["source"] not in SHIPPED_SOURCES or split not in (None, row["split"]):
                continue
            images.append(
                RealImage(
                    pixels=_on_canvas(Image.open(folder / row["path"])),
                    modality=row["modality"],
                    label=row["label"],
                    caption=row["Text"],
                    patient=row["patient"],
                    source=row["source"],
                    split=row["split"],
                )
            )
    return images


def _on_canvas(image: Image.Image) -> NDArray[np.uint8]:
    """Resize so that the short side is `CANVAS` pixels; the aspect is kept."""
    rgb = image.convert("RGB")
    scale = CANVAS / min(rgb.size)
    size = (max(CANVAS, round(rgb.width * scale)), max(CANVAS, round(rgb.height * scale)))
    return np.asarray(rgb.resize(size, Image.Resampling.LANCZOS))


def central_square(image: RealImage) -> Tensor:
    """Return the central square as float32 [3, SIZE, SIZE] in [-1, 1]."""
    height, width = image.pixels.shape[:2]
    top, left = (height - CANVAS) // 2, (width - CANVAS) // 2
    square = Image.fromarray(image.pixels[top : top + CANVAS, left : left + CANVAS])
    small = np.asarray(square.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    return torch.from_numpy(small.copy()).permute(2, 0, 1).float() / 127.5 - 1


def augmented_batch(images: list[RealImage], generator: torch.Generator) -> Tensor:
    """Return float32 [B, 3, SIZE, SIZE] in [-1, 1], mildly cropped, turned and re-exposed.

    Never flipped: a heart on the right, or an optic disc on the other side, is another finding.
    """
    squares_BCHW = torch.stack([_random_square(image, generator) for image in images])
    num_images = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(num_images).uniform_(low, high, generator=generator)

    angle_B = uniform(-6, 6) * torch.pi / 180
    zoom_B = uniform(0.84, 1.0)  # share of the canvas that is seen
    affine_B23 = torch.zeros(num_images, 2, 3)
    affine_B23[:, 0, 0] = zoom_B * angle_B.cos()
    affine_B23[:, 0, 1] = -zoom_B * angle_B.sin()
    affine_B23[:, 1, 0] = zoom_B * angle_B.sin()
    affine_B23[:, 1, 1] = zoom_B * angle_B.cos()
    affine_B23[:, :, 2] = torch.stack([uniform(-0.06, 0.06), uniform(-0.06, 0.06)], dim=1)
    grid = torch.nn.functional.affine_grid(
        affine_B23, [num_images, 3, 2 * SIZE, 2 * SIZE], align_corners=False
    )
    seen = torch.nn.functional.grid_sample(
        squares_BCHW, grid, padding_mode="border", align_corners=False
    )
    seen = torch.nn.functional.avg_pool2d(seen, 2)  # twice the size, then halved: no aliasing
    gamma_B = uniform(0.88, 1.14)[:, None, None, None]
    gain_B = uniform(0.94, 1.06)[:, None, None, None]
    return ((seen.clamp(0, 1) ** gamma_B) * gain_B).clamp(0, 1) * 2 - 1


def _random_square(image: RealImage, generator: torch.Generator) -> Tensor:
    height, width = image.pixels.shape[:2]

    def start(length: int) -> int:
        spare = length - CANVAS  # wide images: the crop may wander over the middle half
        if spare <= 1:
            return spare // 2
        low, high = spare // 4, spare - spare // 4
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    top, left = start(height), start(width)
    square = image.pixels[top : top + CANVAS, left : left + CANVAS]
    return torch.from_numpy(square.copy()).permute(2, 0, 1).float() / 255
