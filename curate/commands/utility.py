"""`curate utility`: does a synthetic set help those who train on it?"""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, tell
from curate.evaluation.config import CaptionConfig, SelfSupervisedConfig, UtilityConfig
from curate.settings import takes_settings

utility = typer.Typer(no_args_is_help=True, help="What training on synthetic images brings.")

Real = Annotated[Path, typer.Option(help="Real training images: a CSV, or LABEL/FILE.")]
Test = Annotated[Path, typer.Option(help="Real test images, of other patients.")]
Releases = Annotated[
    list[Path] | None,
    typer.Option(
        "--release",
        help="Synthetic set: a release, CSV or folder. The first is what the others are "
        "compared with (name the unvetted set first); repeat for several.",
        show_default=False,
    ),
]
Lineage = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        help="Workspace whose generator made the sets; testing on its real images is refused.",
        show_default=False,
    ),
]
Cache = Annotated[Path, typer.Option(help="Folder to cache features and results in.")]


@utility.command()
@takes_settings
def classify(
    config: UtilityConfig,
    real: Real,
    test: Test,
    releases: Releases = None,
    workspace: Lineage = None,
    cache: Cache = Path(".curate-cache"),
    as_json: Json = False,
) -> None:
    """Train classifiers on real images with and without synthetic ones; test on other patients.

    Arms of equal numbers: each set as it is, label-checked, weighted 1:1, learned first (not by
    linear); copies of the real images as a control; synthetic alone. If stopped, it resumes.

    Example: curate utility classify --real train.csv --test test.csv --release unvetted
    """
    from curate.evaluation.utility import measure_utility
    from curate.evaluation.utility_sides import read_sides
    from curate.progress import progress
    from rewards.backbones import load_backbone

    sides = read_sides(real, test, releases or [], cache=cache, workspace=workspace)
    found = measure_utility(sides, load_backbone(config.features), config, progress)
    tell(as_json, found.to_json(), found.lines())


@utility.command()
@takes_settings
def report(
    config: CaptionConfig,
    real: Real,
    test: Test,
    releases: Releases = None,
    workspace: Lineage = None,
    cache: Cache = Path(".curate-cache"),
    as_json: Json = False,
) -> None:
    """Train a network that writes what an image shows, with and without synthetic images.

    The texts are the tables' column Text. CIDEr-D, BLEU-4 and ROUGE-L on other patients, beside
    the nearest training caption and the commonest one. If stopped, it resumes.

    Example: curate utility report --real train.csv --test test.csv --release vetted
    """
    from curate.evaluation.reports import measure_reports
    from curate.evaluation.utility_sides import read_sides
    from curate.progress import progress
    from rewards.backbones import load_backbone

    sides = read_sides(real, test, releases or [], cache=cache, workspace=workspace)
    found = measure_reports(sides, load_backbone(config.features), config, progress)
    tell(as_json, found.to_json(), found.lines())


@utility.command()
@takes_settings
def ssl(
    config: SelfSupervisedConfig,
    real: Real,
    test: Test,
    releases: Releases = None,
    workspace: Lineage = None,
    cache: Cache = Path(".curate-cache"),
    as_json: Json = False,
) -> None:
    """Learn features without labels from real images, with and without synthetic ones.

    A linear probe of labelled real images is tested on other patients, beside one of untrained
    features. All arms train for equally many steps. If stopped, it resumes.

    Example: curate utility ssl --real train.csv --test test.csv --release vetted
    """
    from curate.evaluation.self_supervised import measure_self_supervision
    from curate.evaluation.utility_sides import read_sides
    from curate.progress import progress

    sides = read_sides(real, test, releases or [], cache=cache, workspace=workspace)
    found = measure_self_supervision(sides, config, progress)
    tell(as_json, found.to_json(), found.lines())
