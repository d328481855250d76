"""What the frozen networks are trained with. Standard library only."""

from dataclasses import asdict, dataclass

SIDE = 64  # pixels that a frozen network sees a side, where its weights file names no other
TRUTH_SIDE = 128  # of the eyes and the judge: findings are smaller than a 64-pixel image shows

MODALITIES = ("OCT", "Fundus", "CXR", "ChestCT", "BrainMRI")

# Licences of these sources (column `source` of the table) let weights trained on them be shipped.
# `recipes/embedded_model/data.py` holds the same list: the judge may not change with the generator.
SHIPPED_SOURCES = (
    "OCTDL",
    "IDRiD",
    "COVID-19 Image Repository (Hannover Medical School)",
    "Kermany chest X-ray (resized copy)",
    "IQ-OTH/NCCD",
    "Vestibular-Schwannoma-SEG (TCIA)",
    "Brain Tumor MRI Dataset (Nickparvar)",
)


def canvas_of(side: int) -> int:
    """Return the short side, in pixels, of an image kept for `side`: room for crops and turns."""
    return side * 5 // 4


@dataclass(frozen=True)
class TrainingSettings:
    """How one network is trained. Time is counted in steps, so that a run can be repeated."""

    num_steps: int
    num_pairs: int = 16  # images a step, each seen clean and corrupted
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    average_decay: float = 0.998  # of the moving average of the weights, which is what ships
    seed: int = 0

    def to_json(self) -> dict[str, float]:
        """Return the fields by name."""
        return asdict(self)
