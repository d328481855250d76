"""A generator is begun: a family makes its first weights for what the workspace has to learn."""

from curate.errors import CurateError
from curate.production.config import GeneratorChoice
from curate.production.images import prompt_value
from curate.production.versions import chosen_version, load_version, save_version
from curate.samples.formats import read_sample
from curate.training.config import FamilyChoice, LessonConfig, parse_settings
from curate.training.selection import select_images
from curate.workspace import Workspace
from db.folders import unfinished_folder
from db.models import GeneratorVersion
from db.queries.versions import MadeOf
from generators import registry
from generators.beginning import Beginning


def begun_version(
    ws: Workspace, family: FamilyChoice, choice: GeneratorChoice, lesson: LessonConfig, *, seed: int
) -> GeneratorVersion:
    """Return the version that a training starts from: chosen, or a family's own first weights.

    Begun twice with the same settings, seed and images, it is the same version. It is nobody's
    latest: untrained, it is where a training starts and no more.
    """
    if family.family is None:
        if family.settings:
            raise CurateError("--set belongs to a family that is begun: name it with --family.")
        return chosen_version(ws, choice)
    out_of = None if choice == GeneratorChoice() else chosen_version(ws, choice)
    base = None if out_of is None else load_version(ws, out_of.id)
    settings = parse_settings(family.settings)
    examples = (  # read as the family asks for them
        (read_sample(ws.store, image.file_sha256), prompt_value(ws, image.prompt_id))
        for image in select_images(ws, lesson).learned
    )
    beginning = Beginning(examples, seed, base)
    generator = registry.create(family.family, settings, beginning)
    with unfinished_folder(ws.cache / "unfinished", "begin-") as aside:
        generator.save(aside)
        return save_version(
            ws,
            aside,
            generator_name=generator.family,
            family=generator.family,
            how_made="begun",
            made_of=MadeOf(
                None if out_of is None else out_of.id,
                config={"family": family.family, "settings": settings, "seed": seed},
            ),
        )
