"""`curate translate`: files of any modality as a run of prompts with a source, and files again."""

import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.evaluation.intervals import bootstrap_mean
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import load_version
from curate.progress import ShowProgress
from curate.samples.formats import PNG, read_sample
from curate.samples.marks import marked
from curate.samples.pixels import png_bytes
from curate.translation import scores
from curate.translation.config import TranslateOptions
from curate.translation.files import (
    Slice,
    at_size,
    back_at,
    is_volume,
    numbers,
    slices_of,
    stem,
    write_volume,
)
from curate.translation.versions import target_of, translator_named
from curate.workspace import Workspace
from db import queries
from db.folders import replace_file
from db.queries.prompts import NewPrompt
from generators.config import SamplingSettings
from generators.translation.maps import local_mutual_information, mutual_information

Figure = dict[str, float]  # value, low, high
SOURCE = "source"
PATIENCE_S = 3600  # for a segmenter, per file
SCORES: Mapping[str, Callable[..., torch.Tensor]] = {
    "SSIM": scores.ssim,
    "PSNR": scores.psnr,
    "MSE": scores.squared_error,
    "GMSD": scores.gradient_deviation,
    "MI": lambda first, second: mutual_information(first, second, normalised=False),
}


@dataclass
class Translated:
    """What one call did: files, figures by name, and what of it failed."""

    run_id: str
    made: int  # slices that were not there already
    files: dict[Path, Path] = field(default_factory=dict)  # {source: result}
    translatability: float | None = None
    figures: dict[str, dict[str, Figure]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what a person reads."""
        shown = [
            f"{self.made} slices made, {len(self.files)} files written (run {self.run_id[:12]})"
        ]
        for name, values in self.figures.items():
            told = ", ".join(
                f"{kind} {one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
                for kind, one in values.items()
            )
            shown.append(f"{name}: {told}")
        return [*shown, *(f"failed: {line}" for line in self.failed)]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "run": self.run_id,
            "made": self.made,
            "files": {str(source): str(out) for source, out in self.files.items()},
            "translatability": self.translatability,
            "figures": self.figures,
            "failed": self.failed,
        }


def translate(
    ws: Workspace,
    sources: Sequence[Path],
    options: TranslateOptions,
    *,
    say: Callable[[str], None],
    show: ShowProgress,
) -> Translated:
    """Translate files slice by slice with one noise; what is there already is not made again.

    A file that cannot be read, or whose segmentation fails, is one line; the others are done.
    """
    options.check(sources)
    version = translator_named(ws, options.version)
    size = load_version(ws, version.id).output.shape[-1]
    job = Job(ws, options, target_of(ws, version), size)
    prompts: dict[tuple[Path, int | None], NewPrompt] = {}
    failed: list[str] = []
    for path in sources:
        try:
            prompts |= job.prompts(path)
        except CurateError as error:
            failed.append(str(error))
    if not prompts:
        raise CurateError(failed[0] if failed else "No slice to translate: all are one grey level.")
    score = job.translatability(sources)
    if score is not None:
        say(f"translatability {score:.2f}: mutual information of self maps, sources and targets")
    queries.prompts.add_prompts(ws.session, list(prompts.values()))
    rows = queries.prompts.prompts_by_id(ws.session, [p.prompt_id for p in prompts.values()])
    settings = SamplingSettings(
        num_steps=options.num_steps, batch_size=options.batch_size, strength=options.strength
    )
    wanted = [rows[prompt.prompt_id] for prompt in prompts.values()]
    plan = plan_run(ws, version, wanted, count=1, first_seed=options.seed, settings=settings)
    with show(plan.num_items, "slices") as advance:
        done = run_plan(ws, plan, advance, device=options.device, say=say)
    made = queries.runs.images_of_run(ws.session, plan, plan.settings_hash)
    files = {image.prompt_id: image.file_sha256 for image in made}
    result = Translated(plan.id, done.made, translatability=score, failed=failed)
    for path in dict.fromkeys(path for path, _ in prompts):
        own = {i: files.get(p.prompt_id) for (of, i), p in prompts.items() if of == path}
        result.files[path] = job.write(path, own)
    result.figures = job.figures(sources, result)
    return result


@dataclass(frozen=True)
class Job:
    """Files of one call: as prompts, as results, as figures."""

    ws: Workspace
    options: TranslateOptions
    target: str  # the modality that the translator learned
    size: int  # of its square images

    def slices(self, path: Path) -> Iterator[Slice]:
        """Yield a file's slices."""
        return slices_of(self.ws, path, self.options.window)

    def prompts(self, path: Path) -> dict[tuple[Path, int | None], NewPrompt]:
        """Keep a file's slices as condition images; return its prompts by slice."""
        if not path.is_file():
            raise CurateError(f"{path}: there is no such file.")
        found = {}
        for one in self.slices(path):
            kept = [(at_size(one.pixels, self.size), PNG)]
            [sha256] = queries.files.add_files(self.ws.session, self.ws.store, kept)
            found[path, one.index] = NewPrompt(
                modality=self.target,
                text=f"translated to {self.target}",
                conditions={SOURCE: sha256},
            )
        return found

    def write(self, path: Path, files: Mapping[int | None, str | None]) -> Path:
        """Write one source's result on the source's grid; return the file, of several the last."""
        out = self.options.out
        out.mkdir(parents=True, exist_ok=True)

        def results() -> Iterator[tuple[int, NDArray[Any]]]:
            for one in self.slices(path):
                sha256 = files.get(one.index)
                if sha256 is None:
                    continue  # left out: its pixels were no numbers
                made = torch.from_numpy(read_sample(self.ws.store, sha256).array[0] / 255).float()
                height, width = one.pixels.shape
                yield one.index or 0, back_at(made, (height, width))

        if is_volume(path):
            write_volume(path, out / f"{stem(path)}.nii.gz", results())
            return out / f"{stem(path)}.nii.gz"
        several, name = len(files) > 1, ""
        for index, pixels in results():
            name = f"{stem(path)}-{index}.png" if several else f"{stem(path)}.png"
            replace_file(out / name, marked(png_bytes(pixels)))
        return out / (
            f"{stem(path)}-{min(filter(None, files), default=0)}.png" if several else name
        )

    def pairs(self, first: Path, second: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the slices that both files have, [1, H, W] each; refuse another grid."""
        others = {one.index: one.pixels for one in self.slices(second)}
        for one in self.slices(first):
            other = others.get(one.index)
            if other is None:
                continue
            if other.shape != one.pixels.shape:
                raise CurateError(f"{second}: its slices are {other.shape}, not {one.pixels.shape}")
            yield torch.from_numpy(one.pixels)[None], torch.from_numpy(other)[None]

    def translatability(self, sources: Sequence[Path]) -> float | None:
        """Return the mean mutual information of self maps of sources and targets, where known.

        The self map is all that a translator without contrast sees of its source: where those of
        both modalities tell the same, there is something to go by.
        """
        found = []
        for source, target in zip(sources, self.options.targets, strict=False):
            for pair in self.pairs(source, target):
                maps = [local_mutual_information(one[None], one[None]) for one in pair]
                found.append(mutual_information(*maps).item())
        return sum(found) / len(found) if found else None

    def figures(self, sources: Sequence[Path], result: Translated) -> dict[str, dict[str, Figure]]:
        """Return figures against true targets and labels with 95 % intervals over slices or files.

        Raw sources stand beside the results; what cannot be measured is a line of `failed`.
        """
        rows: dict[str, dict[str, list[float]]] = {}
        for place, source in enumerate(sources):
            if source not in result.files:
                continue
            shown = {"source as it is": source, "translated": result.files[source]}
            try:
                for name, path in shown.items() if self.options.targets else ():
                    for number, (first, second) in enumerate(
                        self.pairs(path, self.options.targets[place])
                    ):
                        if path is not source:
                            self.write_maps(f"{stem(source)}-{number}", first, second)
                        for kind, score in SCORES.items():
                            values = rows.setdefault(name, {}).setdefault(kind, [])
                            values.append(score(first, second).item())
                if self.options.targets:
                    shown["true target"] = self.options.targets[place]
                for name, path in shown.items() if self.options.segment else ():
                    truth = self.options.labels[place] if self.options.labels else None
                    for kind, value in self.overlaps(path, name, truth).items():
                        rows.setdefault(name, {}).setdefault(kind, []).append(value)
            except CurateError as error:
                result.failed.append(str(error))
        return {
            name: {
                kind: {"value": (e := bootstrap_mean(values)).value, "low": e.low, "high": e.high}
                for kind, values in kinds.items()
            }
            for name, kinds in rows.items()
        }

    def write_maps(self, name: str, made: torch.Tensor, true: torch.Tensor) -> None:
        """Write result, target, difference, SSIM map and MI map side by side: [1, H, W] each."""
        alike = local_mutual_information(made[None], true[None])[0]
        shown = [made, true, (made - true).abs(), scores.ssim_maps(made, true).clamp(0, 1), alike]
        levels = (torch.cat(shown, dim=2)[0].clamp(0, 1) * 255).byte().numpy()
        folder = self.options.out / "maps"
        folder.mkdir(exist_ok=True)
        replace_file(folder / f"{name}.png", png_bytes(levels))

    def overlaps(self, path: Path, name: str, truth: Path | None) -> dict[str, float]:
        """Run the user's segmenter on a file; return Dice of each class of the truth but 0."""
        folder = self.options.out / "labels" / name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / (f"{stem(path)}.nii.gz" if is_volume(path) else f"{stem(path)}.png")
        words = [
            word.replace("{in}", str(path)).replace("{out}", str(out))
            for word in shlex.split(self.options.segment or "")
        ]
        try:
            ended = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CurateError(f"The segmenter could not run on {path.name}: {error}.") from error
        if ended.returncode or not out.is_file():
            said = (ended.stderr.strip().splitlines() or ["it wrote no file"])[-1]
            raise CurateError(f"The segmenter failed on {path.name} ({ended.returncode}): {said}")
        labels, shape = numbers(out), numbers(path).shape
        if labels.shape != shape:
            raise CurateError(f"The segmenter wrote a grid of {labels.shape} for {path.name}.")
        if truth is None:
            return {}
        found, true = torch.from_numpy(labels), torch.from_numpy(numbers(truth))
        if found.shape != true.shape:
            raise CurateError(f"{truth}: its grid is {list(true.shape)}, not {list(found.shape)}.")
        classes = [int(label) for label in true.unique() if label]
        return {f"Dice {c}": scores.dice(found[None], true[None], c).item() for c in classes}
