"""`curate evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, tell
from curate.evaluation.config import AxesConfig, EditsConfig, EvaluationConfig, SeriesConfig
from curate.production.config import GeneratorChoice
from curate.settings import Only, takes_settings
from generators.config import SamplingSettings


@takes_settings
def evaluate(
    config: EvaluationConfig,
    axes: AxesConfig,
    series: SeriesConfig,
    edits: EditsConfig,
    choice: Annotated[GeneratorChoice, Only("version")],
    sampling: Annotated[
        SamplingSettings, Only("num_steps", "guidance", "image_guidance", "strength")
    ],
    synthetic: Annotated[
        list[Path] | None,
        typer.Option(
            help="Measure this set instead of the workspace's: a CSV, a release or a folder of "
            "LABEL/FILE; repeat for several.",
            show_default=False,
            rich_help_panel="Sets from elsewhere",
        ),
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option(help="Real images to compare with.", show_default=False),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            help="Real images of other patients.", show_default="--real's rows of split val, test"
        ),
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder to cache features in.")] = Path(
        ".curate-cache"
    ),
    page: Annotated[
        Path | None,
        typer.Option(
            help="HTML file with figures, plots and pictures to write.",
            show_default="reports/evaluation.html; of sets from elsewhere, none",
        ),
    ] = None,
    survival: Annotated[
        Path | None,
        typer.Option(
            help="Compare survival instead: a CSV with the columns time, event (0, 1), group.",
            show_default=False,
        ),
    ] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Measure generator versions, or sets made elsewhere, against real images.

    Judged quality, fidelity, diversity, label truth, privacy, retrieval, and what
    training on the sets brings. Stopped at any moment, the same command resumes:
    features and trained figures are cached.

    Example: curate evaluate
    """
    from curate.evaluation.compare import compare_tables, compare_versions
    from curate.evaluation.survival import survival_of
    from curate.evaluation.table import evaluate as measure
    from curate.production.work import at_work
    from curate.progress import progress
    from curate.report.evaluation import write_evaluation
    from curate.workspace import open_workspace

    if survival is not None:
        of_groups = survival_of(survival)
        tell(as_json, of_groups.to_json(), of_groups.lines())
        return
    if synthetic or real or test:
        if not synthetic or real is None:
            raise typer.BadParameter("--synthetic and --real go together")
        found = compare_tables(synthetic, real, test, config, axes, progress, cache=cache)
        said = found.lines()
        if page is not None:
            named = [f"--real {real}", *([f"--test {test}"] if test else [])]
            named += [f"--synthetic {one}" for one in synthetic]
            write_evaluation(found, page, " ".join(["curate evaluate", *named]))
            said = [*said, f"Page: {page}"]
        tell(as_json, found.to_json(), said)
        return
    if series.along or series.ablation:
        from curate.evaluation.series import measure_series
        from curate.report.series import draw_series

        with open_workspace(workspace) as ws, at_work(ws.folder, "evaluate", series, sampling):
            in_a_row = measure_series(ws, series, config, axes, sampling, progress)
        drawn = [f"Curves: {draw_series(workspace, in_a_row)}"] if series.along else []
        tell(as_json, in_a_row.to_json(), [*in_a_row.lines(), *drawn])
        return
    if edits.edits:
        from curate.evaluation.edits import evaluate_edits

        with open_workspace(workspace) as ws, at_work(ws.folder, "evaluate", edits, sampling):
            measured = evaluate_edits(ws, choice.version, edits, sampling)
        tell(as_json, measured.to_json(), measured.lines())
        return
    with open_workspace(workspace) as ws, at_work(ws.folder, "evaluate", config, axes):
        table = measure(ws, config, progress)
        compared = compare_versions(ws, config, axes, progress)
        lines = table.lines() + compared.lines()
        # a part asked for alone takes no place of the whole page
        if (page or not axes.only) and (compared.sets or compared.downstream):
            place = page or ws.folder / "reports" / "evaluation.html"
            lines.append(f"Page: {write_evaluation(compared, place, 'curate evaluate')}")
    tell(as_json, {**table.to_json(), "axes": compared.to_json()}, lines)
