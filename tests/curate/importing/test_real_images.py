"""Tables of real images: good rows go in, bad ones are named, and twice adds nothing."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from curate.errors import CurateError
from curate.importing import real_images
from curate.importing.config import ImportConfig
from curate.importing.real_images import Imported, import_table
from curate.samples.marks import marked
from curate.workspace import Workspace
from db import queries
from db.models import AuditEvent, Image, Prompt

ImportText = Callable[..., Imported]
HEAD = "path,Text,modality\n"


def said(imported: Imported) -> list[str]:
    return [str(remark) for remark in imported.refused]


def stored(workspace: Workspace) -> list[tuple[Image, Prompt]]:
    return queries.images.images(workspace.session)


def test_a_row_becomes_an_image_with_its_prompt_and_its_facts(
    import_text: ImportText, workspace: Workspace, folder: Path
) -> None:
    imported = import_text(
        "path,Text,modality,label,patient,split,source,licence\n"
        'a.png,"Drusen, large.",Chest X-Ray,amd,p1,training,OCTDL,CC BY 4.0\n'
    )
    assert (imported.imported, imported.already_there, imported.refused) == (1, 0, [])
    image, prompt = stored(workspace)[0]
    assert (prompt.modality, prompt.text, prompt.label) == ("CXR", "Drusen, large.", "amd")
    assert (image.origin, image.patient, image.split) == ("real", "p1", "train")
    assert (image.source, image.licence, image.source_path) == ("OCTDL", "CC BY 4.0", "a.png")
    assert image.shape == [1, 12, 10]
    assert workspace.store.get(image.file_sha256) == (folder / "a.png").read_bytes()


def test_what_says_that_it_is_synthetic_is_never_taken_for_real(
    import_text: ImportText, workspace: Workspace, folder: Path
) -> None:
    (folder / "a.png").write_bytes(marked((folder / "a.png").read_bytes()))
    imported = import_text(HEAD + "a.png,drusen,OCT\nb.png,normal,OCT\n")
    [line] = said(imported)
    assert line.startswith("data.csv:2: the file is marked as synthetic (digital source type")
    assert [image.source_path for image, _ in stored(workspace)] == ["b.png"]


def test_importing_twice_adds_nothing(import_text: ImportText, workspace: Workspace) -> None:
    table = HEAD + "a.png,drusen,OCT\nb.png,normal,OCT\n"
    import_text(table)
    before = queries.audit.counts(workspace.session)
    again = import_text(table)
    assert (again.imported, again.already_there, again.refused) == (0, 2, [])
    assert queries.audit.counts(workspace.session) == before
    assert len(list(workspace.store.list())) == 2


@pytest.mark.parametrize("damage", ["gone", "cut off", "another byte"])
def test_importing_again_restores_a_lost_or_damaged_file(
    import_text: ImportText, workspace: Workspace, damage: str
) -> None:
    table = HEAD + "a.png,drusen,OCT\nb.png,normal,OCT\n"
    import_text(table)
    image, _ = stored(workspace)[0]
    path = workspace.store.local_path(image.file_sha256)
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + (b"" if damage == "cut off" else b"?"))
    again = import_text(table)
    assert (again.imported, again.already_there, again.restored) == (0, 2, 1)
    assert path.read_bytes() == whole
    assert import_text(table).restored == 0


def test_rows_added_to_a_table_are_all_that_the_next_import_adds(
    import_text: ImportText, workspace: Workspace
) -> None:
    import_text(HEAD + "a.png,drusen,OCT\n")
    more = import_text(HEAD + "a.png,drusen,OCT\nb.png,normal,OCT\n")
    assert (more.imported, more.already_there) == (1, 1)


def test_good_rows_go_in_and_bad_ones_are_listed_in_the_order_of_lines(
    import_text: ImportText, folder: Path
) -> None:
    (folder / "empty.png").touch()
    imported = import_text(
        HEAD
        + "none.png,x,OCT\na.png,drusen,OCT\nempty.png,x,OCT\n"
        + "b.png,x,tomogram\n,x,OCT\nc.png,,OCT\n"
    )
    assert imported.imported == 1
    assert [remark.line for remark in imported.refused] == [2, 4, 5, 6, 7]
    assert said(imported)[0] == "data.csv:2: none.png: no such file in the data folder"
    assert said(imported)[1] == "data.csv:4: the file is empty (0 bytes)"
    assert "modality 'tomogram' is not known" in said(imported)[2]
    assert "known: OCT, Fundus, CXR" in said(imported)[2]
    assert said(imported)[3] == "data.csv:6: path is empty"
    assert said(imported)[4] == "data.csv:7: Text is empty: describe what the image shows"


def test_strict_refuses_all_when_one_row_is_bad_and_writes_nothing(
    import_text: ImportText, workspace: Workspace
) -> None:
    imported = import_text(HEAD + "a.png,drusen,OCT\nnone.png,x,OCT\n", strict=True)
    assert imported.stopped
    assert imported.imported == 0
    assert stored(workspace) == []
    assert list(workspace.store.list()) == []


def test_strict_lets_a_clean_table_in(import_text: ImportText) -> None:
    assert import_text(HEAD + "a.png,drusen,OCT\n", strict=True).imported == 1


@pytest.mark.parametrize(
    "path", ["../secret.png", "/etc/hostname", "link.png", "inner/../../secret.png"]
)
def test_a_path_outside_the_data_folder_is_refused(
    import_text: ImportText, folder: Path, path: str
) -> None:
    shutil.copy(folder / "d.png", folder.parent / "secret.png")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "inner").mkdir()
    imported = import_text(HEAD + f"{path},x,OCT\n")
    assert imported.imported == 0
    assert "lies outside the data folder" in said(imported)[0]


def test_an_absolute_path_and_a_link_within_the_data_folder_are_fine(
    import_text: ImportText, folder: Path
) -> None:
    (folder / "link.png").symlink_to(folder / "b.png")
    assert import_text(HEAD + f"{folder / 'a.png'},x,OCT\nlink.png,x,OCT\n").imported == 2


def test_the_data_folder_may_be_another_than_the_table_s(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "table.csv").write_text(HEAD + "a.png,drusen,OCT\n")
    imported = import_table(workspace, tmp_path / "table.csv", ImportConfig(folder=folder))
    assert imported.imported == 1


def test_a_path_that_no_file_can_have_is_refused(import_text: ImportText) -> None:
    imported = import_text(HEAD + f"{'x' * 5000}.png,x,OCT\na\0b.png,x,OCT\n")
    assert [remark.line for remark in imported.refused] == [2, 3]


def test_an_unknown_modality_is_taken_as_it_is_only_when_named_on_purpose(
    import_text: ImportText, workspace: Workspace
) -> None:
    assert import_text(HEAD + "a.png,hot knee,Thermography\n").imported == 0
    table = HEAD + "a.png,hot knee, left,Thermography\n"
    assert import_text(table, new_modalities=("Thermography",)).imported == 1
    assert stored(workspace)[0][1].modality == "Thermography"


def test_in_the_two_column_form_the_text_names_the_modality(
    import_text: ImportText, workspace: Workspace
) -> None:
    imported = import_text("path,Text\na.png,Macular OCT B-scan, drusen\nb.png,chest x-ray\n")
    assert imported.imported == 2
    assert {prompt.modality for _, prompt in stored(workspace)} == {"OCT", "CXR"}


def test_in_the_two_column_form_no_modality_is_guessed(import_text: ImportText) -> None:
    imported = import_text("path,Text\na.png,drusen\nb.png,chest CT and chest X-ray\n")
    assert imported.imported == 0
    assert "no modality: Text names none" in said(imported)[0]
    assert "no modality: Text names CXR and ChestCT" in said(imported)[1]


def test_the_option_names_the_modality_of_rows_that_have_none(
    import_text: ImportText, workspace: Workspace
) -> None:
    imported = import_text(HEAD + "a.png,drusen,\nb.png,normal,CXR\n", modality="oct")
    assert imported.imported == 2
    assert sorted(prompt.modality for _, prompt in stored(workspace)) == ["CXR", "OCT"]


def test_an_unknown_split_is_refused(import_text: ImportText) -> None:
    imported = import_text("path,Text,modality,split\na.png,x,OCT,holdout\n")
    assert said(imported) == ["data.csv:2: split 'holdout': give train, val or test"]


def test_the_same_path_twice_is_imported_once_and_reported(import_text: ImportText) -> None:
    imported = import_text(HEAD + "a.png,drusen,OCT\nb.png,x,OCT\na.png,drusen,OCT\n")
    assert imported.imported == 2
    assert said(imported) == ["data.csv:4: duplicate: a.png is the file of line 2"]


def test_the_same_bytes_under_another_path_are_imported_once_and_reported(
    import_text: ImportText, folder: Path
) -> None:
    shutil.copy(folder / "a.png", folder / "copy.png")
    imported = import_text(HEAD + "a.png,drusen,OCT\ncopy.png,drusen,OCT\n")
    assert imported.imported == 1
    assert said(imported) == ["data.csv:3: duplicate: copy.png is the pixels of a.png of line 2"]


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [("label", "amd", "normal"), ("patient", "p1", "p2"), ("split", "train", "val")],
)
def test_a_file_with_two_truths_is_flagged_on_both_lines_and_not_imported(
    import_text: ImportText, column: str, one: str, other: str
) -> None:
    imported = import_text(
        f"path,Text,modality,{column}\na.png,x,OCT,{one}\nb.png,x,OCT,{one}\na.png,x,OCT,{other}\n"
    )
    assert imported.imported == 1
    assert [remark.line for remark in imported.refused] == [2, 4]
    assert (
        f"line 2 (a.png) says {column} '{one}', line 4 (a.png) says '{other}'" in said(imported)[0]
    )


def test_an_image_that_the_workspace_knows_otherwise_is_flagged(
    import_text: ImportText, workspace: Workspace
) -> None:
    import_text("path,Text,modality,label\na.png,x,OCT,amd\n")
    imported = import_text("path,Text,modality,label\na.png,x,OCT,normal\n")
    assert (imported.imported, imported.already_there) == (0, 0)
    assert "imported from a.png with label 'amd'; this row says 'normal'" in said(imported)[0]
    assert len(stored(workspace)) == 1


def test_a_column_that_was_missing_before_is_filled_in(
    import_text: ImportText, workspace: Workspace
) -> None:
    import_text(HEAD + "a.png,x,OCT\n")
    again = import_text("path,Text,modality,split\na.png,x,OCT,val\n")
    assert (again.already_there, again.filled_in, again.refused) == (1, 1, [])
    workspace.session.expire_all()
    assert stored(workspace)[0][0].split == "val"
    assert import_text(HEAD + "a.png,x,OCT\n").refused == []  # says less, contradicts nothing


def test_an_import_killed_between_batches_and_repeated_ends_with_the_same_rows(
    import_text: ImportText, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_images, "IMAGES_A_BATCH", 1)
    table = HEAD + "a.png,1,OCT\nb.png,2,OCT\nc.png,3,OCT\nd.png,4,OCT\n"
    add_real_images = queries.images.add_real_images
    batches: list[object] = []

    def killed_at_the_third(*args: Any) -> None:
        batches.append(args)
        if len(batches) == 3:  # its files are in the store, its rows are not
            raise KeyboardInterrupt
        add_real_images(*args)

    monkeypatch.setattr(queries.images, "add_real_images", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        import_text(table)
    workspace.session.rollback()
    assert len(stored(workspace)) == 2
    monkeypatch.setattr(queries.images, "add_real_images", add_real_images)
    again = import_text(table)
    assert (again.imported, again.already_there) == (2, 2)
    assert sorted(str(image.source_path) for image, _ in stored(workspace)) == [
        "a.png",
        "b.png",
        "c.png",
        "d.png",
    ]
    assert sorted(workspace.store.list()) == sorted(
        image.file_sha256 for image, _ in stored(workspace)
    )


def test_the_import_is_in_the_audit_trail(import_text: ImportText, workspace: Workspace) -> None:
    for _ in range(2):  # what was said is not said again
        import_text(HEAD + "a.png,x,OCT\n")
        event = workspace.session.exec(select(AuditEvent)).one()
        assert event.command == "import"
        sha256 = hashlib.sha256((HEAD + "a.png,x,OCT\n").encode()).hexdigest()
        assert event.details == {"file": "data.csv", "sha256": sha256, "images": 1}


def test_images_without_a_text_go_in_when_a_captioner_will_write_it(
    import_text: ImportText, workspace: Workspace
) -> None:
    imported = import_text(HEAD + "a.png,,OCT\nb.png,,\n", unlabelled=True)
    assert imported.imported == 1
    assert "no modality" in said(imported)[0]  # without a text there is nothing to read it from
    assert stored(workspace)[0][1].text == ""


def test_a_path_as_windows_writes_it_is_followed_and_noted(
    import_text: ImportText, folder: Path
) -> None:
    (folder / "eyes").mkdir()
    shutil.move(folder / "a.png", folder / "eyes" / "a.png")
    imported = import_text(HEAD + "eyes\\a.png,drusen,OCT\nC:\\data\\b.png,drusen,OCT\n")
    assert imported.imported == 1
    assert [str(note) for note in imported.notes] == [
        "data.csv:2: eyes\\a.png is read as eyes/a.png"
    ]
    assert "C:\\data\\b.png: no such file" in said(imported)[0]


def test_a_missing_file_is_refused_with_the_one_that_may_be_meant(import_text: ImportText) -> None:
    imported = import_text(HEAD + "a,drusen,OCT\nB.PNG,drusen,OCT\nc.jpeg,x,OCT\n")
    assert said(imported) == [
        "data.csv:2: a: no such file in the data folder, but there is a.png",
        "data.csv:3: B.PNG: no such file in the data folder, but there is b.png",
        "data.csv:4: c.jpeg: no such file in the data folder, but there is c.png",
    ]


def test_several_captions_of_an_image_are_kept_and_it_is_one_image(
    import_text: ImportText, workspace: Workspace
) -> None:
    table = HEAD + "a.png,drusen in the macula,OCT\nb.png,x,OCT\na.png,soft drusen,OCT\n"
    imported = import_text(table)
    assert (imported.imported, imported.refused) == (3, [])
    learned = queries.images.images_to_learn(workspace.session, origin="real")
    assert {image.text for image in learned} == {"drusen in the macula", "x", "soft drusen"}
    assert len({image.file_sha256 for image in learned}) == 2
    images = queries.images.real_images(workspace.session, splits=(None,))
    assert {prompt.text for _, prompt in images} == {"drusen in the macula", "x"}
    assert queries.audit.counts(workspace.session)["real_images"] == 2
    again = import_text(table)
    assert (again.imported, again.already_there, again.refused) == (0, 3, [])


def test_a_further_caption_is_taken_beside_the_stored_one_and_refused_in_its_place(
    import_text: ImportText, workspace: Workspace
) -> None:
    import_text(HEAD + "a.png,drusen,OCT\n")
    assert (
        "with Text 'drusen'; this row says 'scar'"
        in said(import_text(HEAD + "a.png,scar,OCT\n"))[0]
    )
    both = import_text(HEAD + "a.png,scar,OCT\na.png,drusen,OCT\n")
    assert (both.imported, both.already_there, both.refused) == (1, 1, [])


def test_captions_with_another_label_contradict_each_other(import_text: ImportText) -> None:
    imported = import_text(
        "path,Text,modality,label\na.png,drusen,OCT,amd\na.png,no drusen,OCT,normal\n"
    )
    assert imported.imported == 0 and len(imported.refused) == 2


def test_a_modality_option_that_is_not_known_is_one_error_with_the_nearest_name(
    import_text: ImportText,
) -> None:
    with pytest.raises(CurateError, match="--modality: .*did you mean HeadCT"):
        import_text("path,Text\na.png,x\n", modality="HeadCTs")
    assert import_text("path,Text\na.png,x\n", modality="HeadCT").imported == 1
