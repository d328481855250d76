"""The families of generators by name: curate's own, then those that other packages bring."""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from generators.diffusion.generator import DiffusionGenerator
from generators.errors import GeneratorError

GROUP = "curate.generators"  # a package's entry points here: family = "module:load"
OWN_FAMILIES = (EntryPoint("text-to-image", "generators.families.text_to_image:load", GROUP),)


def families() -> list[str]:
    """Return the names of all families that can be opened here."""
    return sorted(_loaders())


def load(family: str, folder: str | Path, *, unet: str | Path | None = None) -> DiffusionGenerator:
    """Open a generator: a folder that `Generator.save` wrote, or whatever else the family opens.

    `unet` is a separate U-Net to use instead of the folder's, for families that take one.
    """
    loaders = _loaders()
    if family not in loaders:
        raise GeneratorError(
            f"No generator family {family!r}. Known: {', '.join(sorted(loaders))}. "
            f"A package can bring more, by an entry point in the group {GROUP!r}."
        )
    options = {} if unet is None else {"unet": unet}
    generator: DiffusionGenerator = loaders[family].load()(folder, **options)
    return generator


def _loaders() -> dict[str, EntryPoint]:
    """Return the entry points by name; a package cannot replace a family of ours."""
    brought = {point.name: point for point in entry_points(group=GROUP)}
    return brought | {point.name: point for point in OWN_FAMILIES}
