"""The families of generators by name: curate's own, then those that other packages bring."""

import inspect
import json
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

from generators.base import Generator
from generators.beginning import Beginning, read_settings
from generators.errors import GeneratorError
from generators.simulated import Simulated
from generators.training.config import TrainingConfig

GROUP = "curate.generators"  # a package's entry points here: family = "module:load"
NO_WEIGHTS = "elsewhere"  # the family of images that another program made
OWN_FAMILIES = (
    EntryPoint("text-to-image", "generators.families.text_to_image:load", GROUP),
    EntryPoint("counterfactual", "generators.families.counterfactual:load", GROUP),
    EntryPoint("sdxl", "generators.families.sdxl:load", GROUP),
    EntryPoint("sd3", "generators.families.sd3:load", GROUP),
    EntryPoint("clinical", "generators.families.clinical:load", GROUP),
    EntryPoint("clinical-gan", "generators.families.clinical_gan:load", GROUP),
    EntryPoint("translation", "generators.families.translation:load", GROUP),
    EntryPoint(NO_WEIGHTS, "generators.families.elsewhere:load", GROUP),  # says why it cannot
)
PIPELINES = {  # of diffusers, by the family that opens their folders
    "StableDiffusionPipeline": "text-to-image",
    "StableDiffusionInstructPix2PixPipeline": "counterfactual",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
}


def families() -> list[str]:
    """Return the names of all families that can be opened here."""
    return sorted(_loaders().keys() - {NO_WEIGHTS})


def family_of(folder: str | Path) -> str:
    """Return the family that opens a folder, as its `model_index.json` says it.

    A folder that says nothing is taken for text-to-image, whose parts are then looked for.
    """
    path = Path(folder) / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise GeneratorError(f"{path} is no JSON ({error}). Fetch the checkpoint again.") from error
    if not isinstance(index, dict):
        raise GeneratorError(f"{path} names no parts. Fetch the checkpoint again.")
    pipeline = index.get("_class_name")
    if "family" in index or pipeline is None:
        return str(index.get("family", "text-to-image"))
    if pipeline not in PIPELINES:
        raise GeneratorError(
            f"{folder} is a {pipeline}, which no family here opens. Known: "
            f"{', '.join(sorted(PIPELINES))}, and what curate saved."
        )
    return PIPELINES[pipeline]


def load(family: str, folder: str | Path, **options: str | Path) -> Generator:
    """Open a generator: a folder that `Generator.save` wrote, or whatever else the family opens.

    `options` are the parameters that the family's `load` has beside the folder.
    """
    opens = _found(family).load()
    if options:
        known = list(inspect.signature(opens).parameters)[1:]
        if unknown := sorted(options.keys() - set(known)):
            raise GeneratorError(
                f"Family {family!r} takes no {unknown[0]}. It takes: {', '.join(known) or 'none'}."
            )
    generator: Generator = opens(folder, **options)
    return generator


def create(family: str, written: Mapping[str, str], beginning: Beginning) -> Generator:
    """Begin a generator; what is `written` are the family's own settings, by name.

    Such a family's module has `create(settings, beginning)`; its first parameter's type is a
    dataclass whose fields are the settings.
    """
    module = _begun(family)
    kind = get_type_hints(module.create)[next(iter(inspect.signature(module.create).parameters))]
    generator: Generator = module.create(read_settings(kind, family, written), beginning)
    return generator


def first_training(family: str) -> TrainingConfig:
    """Return how a generator of the family is trained that was just begun: `TRAINING` there."""
    training: TrainingConfig = getattr(_begun(family), "TRAINING", TrainingConfig())
    return training


def simulated_of(family: str) -> Simulated | None:
    """Return the family's own simulated raters and judge: `SIMULATED` there, if it has any."""
    found: Simulated | None = getattr(import_module(_found(family).module), "SIMULATED", None)
    return found


def _begun(family: str) -> ModuleType:
    """Return the module of a family that can be begun."""
    module = import_module(_found(family).module)
    if not hasattr(module, "create"):
        raise GeneratorError(
            f"Family {family!r} cannot be begun here. Omit --family, and name weights of that "
            "family with --base."
        )
    return module


def _found(family: str) -> EntryPoint:
    loaders = _loaders()
    if family not in loaders:
        raise GeneratorError(
            f"No generator family {family!r}. Known: {', '.join(families())}. "
            f"A package can bring more, by an entry point in the group {GROUP!r}."
        )
    return loaders[family]


def _loaders() -> dict[str, EntryPoint]:
    """Return the entry points by name; a package cannot replace a family of ours."""
    brought = {point.name: point for point in entry_points(group=GROUP)}
    return brought | {point.name: point for point in OWN_FAMILIES}
