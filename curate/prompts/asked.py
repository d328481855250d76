"""What images are asked for, looked at before anything heavy is loaded."""

from pathlib import Path

from curate.errors import CurateError
from curate.modalities import NoModality, resolve_modality
from curate.production.config import GenerateOptions

TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".json")


def check_asked(options: GenerateOptions) -> None:
    """Raise CurateError for what cannot be meant, whatever the workspace holds."""
    if options.count < 1:
        raise CurateError(f"--count {options.count}: at least 1 image per prompt is needed.")
    for modality in options.modalities:
        try:
            resolve_modality(modality, "")
        except NoModality as error:
            raise CurateError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error
    for text in options.texts:
        if Path(text).suffix.lower() in TABLES and " " not in text.strip():
            raise CurateError(
                f"--prompt {text}: this is a file's name. Give it as --prompts {text}."
            )
    if options.sheet is not None and options.texts:
        raise CurateError("Both --prompts and --prompt: give one of them.")
    if options.sheet is not None and options.prior is not None:
        raise CurateError("--prior belongs to --prompt: a sheet has a column prior.")
    if options.prior is None and options.keep is not None:
        raise CurateError("--keep belongs to --prior: a sheet has a column condition:keep.")
    if options.grid is not None and (options.prior is None or len(options.texts) != 1):
        raise CurateError("--grid needs one --prior and one --prompt.")
    if options.grid is not None and options.grid.suffix.lower() != ".png":
        raise CurateError(f"--grid {options.grid}: name a PNG to be written.")
    if options.sheet is not None:
        return
    if options.records is not None:
        raise CurateError("--records needs --prompts FILE, with a column patient or image.")
    if options.balance is not None:
        raise CurateError("--balance needs --prompts FILE, with a label a line.")
    if not options.texts:
        raise CurateError("No prompt. Give --prompt TEXT with --modality NAME, or --prompts FILE.")
