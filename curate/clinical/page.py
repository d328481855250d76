"""An effect as files: pictures, a scrolling GIF and NIfTI a case, and one page over them.

Default, changed, and the signed difference in one fixed colour scale over all cases: blue is less,
red more. Shapes: [D, H, W] or [H, W].
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from curate.samples.formats import encode
from curate.samples.pixels import png_bytes
from curate.samples.rendered import signed_colours
from curate.samples.renderings import eight_bits, rgb
from db.folders import replace_file
from generators.sample import Kind, Sample

SHOWN_SIDE = 192  # pixels of one panel's longer side, at least
TOP_SLICES = 5
SCALE_QUANTILE = 0.995  # of all differences: the colour scale's end
FRAME_MS = 150
STYLE = (
    "body{font:15px sans-serif;margin:2em;max-width:75em}img{image-rendering:pixelated}"
    "td,th{padding:.2em .6em;text-align:left;border-bottom:1px solid #ccc}"
)
PROVES = (
    "An effect needs Holm's p below 0.05, a mean beyond the 95th percentile of fields drawn by "
    "lot, and that size. It is one of this generator: it does not prove anything about patients."
)

Voxels = NDArray[Any]


@dataclass(frozen=True)
class ShownCase:
    """One case with one field changed."""

    number: int
    field: str
    a: Any
    b: Any
    before: Voxels
    after: Voxels
    mask: Sample
    text: str

    @property
    def change(self) -> Voxels:
        """Return b minus a."""
        difference: Voxels = self.after - self.before
        return difference

    @property
    def name(self) -> str:
        """Return the beginning of its files' names."""
        plain = "".join(c if c.isalnum() else "-" for c in f"{self.field} {self.a} {self.b}")
        return f"case-{self.number}-{plain.lower()}"


def write_page(folder: Path, study: Mapping[str, Any], shown: Sequence[ShownCase]) -> None:
    """Write `effect.json`, the pictures and NIfTI of the shown cases, and `index.html`."""
    folder.mkdir(parents=True, exist_ok=True)
    changes = np.concatenate([np.abs(one.change).ravel() for one in shown] or [np.ones(1)])
    scale = max(float(np.quantile(changes, SCALE_QUANTILE)), 1.0)
    figures = []
    for one in shown:
        before, after = (v.reshape(-1, *v.shape[-2:]) for v in (one.before, one.after))
        frames = [panels(before[at], after[at], scale, study["unit"]) for at in range(len(before))]
        strength = np.abs(after - before).sum(axis=(1, 2))
        top = np.sort(np.argsort(-strength, kind="stable")[:TOP_SLICES])
        sheet = np.concatenate([frames[at] for at in top])
        (folder / f"{one.name}.png").write_bytes(png_bytes(sheet))
        figures.append(f"{one.name}.png")
        if len(frames) > 1:
            pictures = [Image.fromarray(frame) for frame in frames]
            pictures[0].save(
                folder / f"{one.name}.gif",
                save_all=True,
                append_images=pictures[1:],
                duration=FRAME_MS,
                loop=0,
            )
        for role, array in (("a", one.before), ("b", one.after), ("difference", one.change)):
            # a difference is no intensity in 0 .. 1: HU are whatever number they are
            is_hu = role == "difference" or study["unit"] == "HU"
            kind: Kind = "HU" if is_hu else "intensity"
            numbers = array[None].astype(np.float32)
            sample = Sample(numbers, kind, one.mask.spacing_mm, one.mask.affine)
            (folder / f"{one.name}-{role}.nii.gz").write_bytes(encode(sample).content)
    told = {**study, "scale": scale}
    replace_file(folder / "effect.json", (json.dumps(told, indent=1, default=str) + "\n").encode())
    replace_file(folder / "index.html", _page(told, figures, shown).encode())


def panels(before: Voxels, after: Voxels, scale: float, unit: str) -> NDArray[np.uint8]:
    """Return default, changed and difference of one slice side by side: uint8 [h, w, 3]."""
    kind: Kind = "HU" if unit == "HU" else "intensity"
    grey = [eight_bits(rgb(Sample(v[None].astype(np.float32), kind))) for v in (before, after)]
    three = [np.repeat(g[..., None], 3, axis=2) if g.ndim == 2 else g for g in grey]
    three.append(signed_colours((after - before) / scale))
    factor = -(-SHOWN_SIDE // max(before.shape))
    large = [p.repeat(factor, axis=0).repeat(factor, axis=1) for p in three]
    canvas = Image.fromarray(np.concatenate(large, axis=1))
    ImageDraw.Draw(canvas).text((2, 2), f"a | b | b - a, +-{scale:.0f} {unit}", fill=(255, 255, 0))
    return np.asarray(canvas)


def _page(study: Mapping[str, Any], figures: Sequence[str], shown: Sequence[ShownCase]) -> str:
    """Return one HTML page; what was found first, then what it was seen on."""

    def cells(values: Sequence[Any], tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(v))}</{tag}>" for v in values) + "</tr>"

    def number(value: float | None, form: str = "+.1f") -> str:
        return "-" if value is None else format(value, form)

    names = ("verdict", "field", "a", "b", "region", "mean", "95 % interval", "d", "Holm's p")
    rows = [cells((*names, "placebo 95 %", "sign", "masks", "why not"), "th")]
    for e in sorted(study["effects"], key=lambda e: (e["verdict"] != "effect", e["test"]["field"])):
        test = e["test"]
        rows.append(
            cells(
                (
                    *(e["verdict"], test["field"], test["a"], test["b"], test["region"]),
                    *(number(e["mean"]), f"{number(e['low'])} to {number(e['high'])}"),
                    *(number(e["size"]), number(e["p_holm"], ".2g"), number(e["placebo"], ".1f")),
                    *(number(e["agree"], ".0%"), e["num"], e["why_not"]),
                )
            )
        )
    doses = [cells(("field", "region", "values", "means", "in order", "slope per unit"), "th")]
    for d in study["doses"]:
        means = ", ".join(number(mean) for mean in d["means"])
        order, slope = number(d["in_order"], ".0%"), number(d["slope"], "+.2f")
        doses.append(cells((d["field"], d["region"], d["values"], means, order, slope)))
    seen = [
        f"<h3>Case {one.number}: {html.escape(f'{one.field} {one.a} to {one.b}')}</h3>"
        f'<p>{html.escape(one.text)}</p><img src="{figure}" alt="default, changed, difference">'
        for one, figure in zip(shown, figures, strict=True)
    ]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Effects</title>"
        f"<style>{STYLE}</style>"
        f"<h1>What fields do in generator {study['version'][:12]}</h1>"
        f"<p>{study['cases']} masks, equal noise, one field changed; {study['unit']}, b minus a. "
        f"The smallest effect that counts is {study['smallest']:g}. {PROVES}</p>"
        f"<table>{''.join(rows)}</table>"
        + (f"<h2>Dose</h2><table>{''.join(doses)}</table>" if study["doses"] else "")
        + f"<h2>Cases</h2><p>Colours end at {study['scale']:.0f} {study['unit']} in all.</p>"
        + "".join(seen)
        + "</html>"
    )
