"""How blind the label stream of a real Label Studio is: a classifier tries to see through it.

    python benchmarks/label_stream.py                # 1,000 images, two raters: 6 minutes when idle
    python benchmarks/label_stream.py --images 100

Half of the images are real, half synthetic; half good, half bad. Both raters read them in their own
order; all that their browsers are given, pixels left out, goes to the classifier. Then 150 others
are pushed with a leak planted: the good ones first. Fails where the blind stream tells or the
leaking one does not. Needs the environment of `curate rate serve` (made when it is missing).
"""

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.served_workspace import invited, served_workspace
from tests.annotation.label_studio.stream import blind_stream
from tests.curate.image_service.blindness import auc, spread_by_chance
from tests.curate.image_service.study import add_images

BLIND, SEEN = 0.55, 0.9
NUM_LEAKING = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    number = parser.parse_args().images
    with served_workspace() as ws:
        raters = [invited(ws, name) for name in ("ann", "ben")]
        images = add_images(ws, 2 * number)
        stream = blind_stream(ws, raters, images[::2], name="blind", leaking=False)
        blind = {"real": stream.real(), "good": stream.good()}
        found = {name: told(name, auc(stream.items, truth), truth) for name, truth in blind.items()}
        others = random.Random(0).sample(images[1::2], min(number, NUM_LEAKING))
        leak = blind_stream(ws, raters[:1], others, name="leak", leaking=True)
        seen = told("good, the good ones first", auc(leak.items, leak.good()), leak.good())
    assert max(found.values()) <= BLIND, "the stream tells"
    assert seen > SEEN, "the classifier is blind itself"


def told(what: str, area: float, truth: list[bool]) -> float:
    reach = 1.96 * spread_by_chance(truth)
    print(f"{what}: AUC {area:.3f} of {len(truth)} looks (chance: 0.5 +- {reach:.3f})", flush=True)
    return area


if __name__ == "__main__":
    main()
