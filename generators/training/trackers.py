"""One training in a tracker that people use, by accelerate's classes; imported when one is asked.

Each step, strip of images and setting is sent once, however often the training was killed and gone
on with: a file beside says what was sent.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from generators.errors import GeneratorError

PROJECT = "curate"  # in trackers that hold several projects


def require_tracker(name: str) -> None:
    """Raise GeneratorError where a tracker's package is not installed; import nothing."""
    if importlib.util.find_spec(name) is None:
        raise GeneratorError(
            f"--report-to {name} needs a package that is not installed. Install it with "
            f"`pip install 'curate-images[{name}]'`."
        )


class Tracker:
    """A run of one tracker; `sent` is the file of what it was told already."""

    def __init__(self, name: str, run: str, folder: Path, sent: Path) -> None:
        """Begin the run of this name, or go on with it; local files go below `folder`."""
        require_tracker(name)
        self.name, self._sent = name, sent
        self._done = set(sent.read_text(encoding="utf-8").splitlines()) if sent.exists() else set()
        self._tracker = self._opened(run, folder)
        if name == "mlflow":  # its runs have ids of its own
            self._once(f"run {self._tracker.tracker.info.run_id}")

    def _opened(self, run: str, folder: Path) -> Any:
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=not torch.cuda.is_available())  # accelerate's own log asks for it
        begun = next((line[4:] for line in self._done if line.startswith("run ")), None)
        how: dict[str, dict[str, Any]] = {
            "tensorboard": {"run_name": run, "logging_dir": folder},
            "mlflow": {"experiment_name": PROJECT, "run_name": run, "run_id": begun},
            "wandb": {"run_name": PROJECT, "name": run, "id": run, "resume": "allow"},
            "trackio": {"run_name": PROJECT, "name": run, "resume": "allow"},
        }
        tracker = LOGGER_TYPE_TO_CLASS[self.name](**how[self.name])
        tracker.start()
        return tracker

    def settings(self, values: Mapping[str, Any]) -> None:
        """Send settings, nested ones as `group.name`. Trackio forgets them where a run goes on."""
        if self._once("settings") or self.name == "trackio":
            self._tracker.store_init_configuration(flat(values))

    def log(self, step: int, values: Mapping[str, float], *, of: str = "step") -> None:
        """Send the figures of a step; `of` tells apart what is counted."""
        if self._once(f"{of} {step}"):
            self._tracker.log(dict(values), step=step)

    def strip(self, step: int, path: Path) -> None:
        """Send a PNG of sample images."""
        if not self._once(f"strip {step}"):
            return
        if self.name == "mlflow":
            self._tracker.log_artifact(str(path), "samples")
            return
        pixels_HWC = np.asarray(Image.open(path).convert("RGB"))
        if self.name == "trackio":
            import trackio

            self._tracker.log({"samples": trackio.Image(pixels_HWC)}, step=step)
        elif self.name == "tensorboard":
            self._tracker.log_images({"samples": pixels_HWC[None]}, step, dataformats="NHWC")
            self._tracker.tracker.flush()
        else:
            self._tracker.log_images({"samples": [pixels_HWC]}, step)

    def result(self, version_id: str) -> None:
        """Say which row the run made."""
        if self._once("result"):
            if self.name in ("tensorboard", "trackio"):  # the second takes settings at first only
                self._tracker.log({"version": version_id})
            else:
                self._tracker.store_init_configuration({"version": version_id})

    def finish(self) -> None:
        """Close the run."""
        self._tracker.finish()

    def _once(self, what: str) -> bool:
        """Return whether this was not sent yet, and write down that it is."""
        if what in self._done:
            return False
        self._done.add(what)
        with self._sent.open("a", encoding="utf-8") as file:
            file.write(f"{what}\n")
        return True


def flat(values: Mapping[str, Any], under: str = "") -> dict[str, str | float | bool]:
    """Return nested settings as one level of plain values; what is not set is left out."""
    found: dict[str, str | float | bool] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{under}{name}.")
        elif value is not None:
            plain = isinstance(value, str | int | float)
            found[f"{under}{name}"] = value if plain else str(value)
    return found
