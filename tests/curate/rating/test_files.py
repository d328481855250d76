import csv
from pathlib import Path

import pytest

from annotation.base import Answer, RaterProfile
from curate.errors import CurateError
from curate.rating.answers import Taken, take_answers
from curate.rating.files import export_ratings, import_ratings
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.queries.ratings import RatingView
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import BrightnessEyes, add_pictures

HEADER = "image_path,rating,modality,expert_level,prompt\n"


def told(view: RatingView) -> tuple[object, ...]:
    """All that a rating says, without the ids that a workspace gives."""
    return (
        view.file_sha256,
        view.modality,
        view.text,
        view.rater,
        view.expert_level,
        view.simulated,
        view.criterion,
        view.value,
        view.purpose,
        view.rated_at,
    )


def ratings_of(ws: Workspace) -> list[tuple[object, ...]]:
    return sorted((told(view) for view in queries.ratings.current_ratings(ws.session)), key=str)


def rate_simulated(ws: Workspace) -> None:
    campaign = create_campaign(
        ws,
        name="first",
        images=add_pictures(ws, 12),
        raters=simulated_raters(3),
        repeat_fraction=0.25,
    )
    simulate_campaign(ws, campaign, eyes=BrightnessEyes(), advance=lambda _: None)


def written(folder: Path, lines: str, name: str = "ratings.csv") -> Path:
    path = folder / name
    path.write_text(HEADER + lines, encoding="utf-8")
    return path


def test_ratings_come_back_whole_in_another_workspace(workspace: Workspace, tmp_path: Path) -> None:
    rate_simulated(workspace)
    assert export_ratings(workspace, tmp_path / "out.csv") == len(ratings_of(workspace))
    init_workspace(tmp_path / "other")
    with open_workspace(tmp_path / "other") as other:
        add_pictures(other, 12)
        done = import_ratings(other, tmp_path / "out.csv")
        assert done.bad == ()
        assert done.campaigns == ("first",)
        assert ratings_of(other) == ratings_of(workspace)
        campaign = queries.campaigns.find_campaign(other.session, "first")
        assert campaign is not None and campaign.simulated
        again = create_campaign(
            other, name="second", images=add_pictures(other, 2), raters=simulated_raters(3)
        )
        simulate_campaign(other, again, eyes=BrightnessEyes(), advance=lambda _: None)


def rate_both(ws: Workspace) -> None:
    """Ann answers both criteria of 3 images and, of the last, only whether it looks real."""
    campaign = create_campaign(
        ws,
        name="both",
        images=add_pictures(ws, 3),
        raters=[RaterProfile(name="ann")],
        overlap=1,
        rubric_version=2,
    )
    grades = [(3, 1), (2, 3), (3, None)]
    answers = [
        Answer(task_uid=str(v.id), rater="ann", criterion=name, value=value, source_uid=str(v.id))
        for v, own in zip(
            queries.campaigns.assignments(ws.session, campaign.id), grades, strict=True
        )
        for name, value in zip(("looks-real", "shows-asked"), own, strict=True)
        if value is not None
    ]
    assert take_answers(ws, campaign, answers).new == 5


def test_of_several_criteria_a_line_has_the_weakest_and_comes_back_whole(
    workspace: Workspace, tmp_path: Path
) -> None:
    rate_both(workspace)
    assert export_ratings(workspace, tmp_path / "out.csv") == 3
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = ("rating", "criterion:looks-real", "criterion:shows-asked")
    assert sorted(tuple(row[cell] for cell in cells) for row in rows) == [
        ("1", "3", "1"),
        ("2", "2", "3"),
        ("3", "3", ""),
    ]
    assert import_ratings(workspace, tmp_path / "out.csv").taken == Taken(unchanged=5)
    init_workspace(tmp_path / "other")
    with open_workspace(tmp_path / "other") as other:
        add_pictures(other, 3)
        done = import_ratings(other, tmp_path / "out.csv")
        assert (done.bad, done.taken.new) == ((), 5)

        def graded(ws: Workspace) -> list[tuple[str, str, int]]:
            views = queries.ratings.current_ratings(ws.session)
            return sorted((view.file_sha256, view.criterion, view.value) for view in views)

        assert graded(other) == graded(workspace)
        rubrics = queries.campaigns.rubrics_of_campaigns(other.session)
        assert [rubric.version for rubric in rubrics.values()] == [2]


def test_one_rating_is_version_1_and_one_that_is_not_the_weakest_is_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    rate_both(workspace)
    export_ratings(workspace, tmp_path / "out.csv")
    plain = (tmp_path / "out.csv").read_text()
    (tmp_path / "out.csv").write_text(plain.replace(",2,", ",3,", 1).replace('"both"', '"new"'))
    bad = import_ratings(workspace, tmp_path / "out.csv").bad
    assert [line.reason for line in bad] == ["rating 3, but the weakest of its criteria is 2"]
    one = written(tmp_path, "images/OCT-0.png,3,OCT,3,\n", "one.csv")
    assert import_ratings(workspace, one).campaigns == ("one",)
    campaign = queries.campaigns.find_campaign(workspace.session, "one")
    assert campaign is not None
    rubric = queries.campaigns.rubrics_of_campaigns(workspace.session)[campaign.id]
    assert rubric.version == 1
    (line,) = import_ratings(workspace, one, rater="ann", campaign="both").bad
    assert "asked about looks-real, shows-asked (rubric 'minim', version 2)" in line.reason


def test_what_was_exported_adds_nothing_where_it_came_from(
    workspace: Workspace, tmp_path: Path
) -> None:
    rate_simulated(workspace)
    before = ratings_of(workspace)
    count = export_ratings(workspace, tmp_path / "out.csv")
    done = import_ratings(workspace, tmp_path / "out.csv")
    assert done.taken == Taken(unchanged=count)
    assert ratings_of(workspace) == before


def test_without_the_image_files_their_names_tell_which_images_are_meant(
    workspace: Workspace, tmp_path: Path
) -> None:
    rate_simulated(workspace)
    count = export_ratings(workspace, tmp_path / "out.csv")
    (tmp_path / "alone").mkdir()
    (tmp_path / "out.csv").rename(tmp_path / "alone" / "out.csv")
    assert import_ratings(workspace, tmp_path / "alone" / "out.csv").taken == Taken(unchanged=count)


def test_every_exported_line_says_that_it_is_simulated_and_its_image_opens(
    workspace: Workspace, tmp_path: Path
) -> None:
    from PIL import Image

    rate_simulated(workspace)
    export_ratings(workspace, tmp_path / "out.csv", campaign="first")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == HEADER.strip().split(",")
    assert {row["simulated"] for row in rows} == {"true"}
    for row in rows:
        with Image.open(tmp_path / row["image_path"]) as image:
            assert image.size == (16, 16)
    with pytest.raises(CurateError, match="Known: first"):
        export_ratings(workspace, tmp_path / "out.csv", campaign="second")


def test_minims_file_finds_images_by_the_path_they_were_imported_from(
    workspace: Workspace, tmp_path: Path
) -> None:
    add_pictures(workspace, 4, modality="CXR")
    path = written(
        tmp_path,
        "images/CXR-0.png,3,Chest X-Ray,3,finding 0\n"
        "images/CXR-0.png,2,CXR,2,CXR: Finding 0\n"
        "images/CXR-1.png,1,,2,\n",
    )
    done = import_ratings(workspace, path)
    assert done.bad == ()
    assert done.taken == Taken(new=3)
    found = {(r.rater, r.value) for r in queries.ratings.current_ratings(workspace.session)}
    assert found == {
        ("ratings/level-3/1", 3),
        ("ratings/level-2/1", 2),
        ("ratings/level-2/1", 1),
    }
    assert not any(r.simulated for r in queries.ratings.current_ratings(workspace.session))
    assert import_ratings(workspace, path).taken == Taken(unchanged=3)


@pytest.mark.parametrize("second", ["3", "1"])  # the same line twice, or another verdict
def test_without_a_rater_a_second_verdict_is_nobodys(
    workspace: Workspace, tmp_path: Path, second: str
) -> None:
    add_pictures(workspace, 2)
    lines = "images/OCT-0.png,3,OCT,3,\nimages/OCT-1.png,2,OCT,3,\n"
    lines += f"images/OCT-0.png,{second},,3,\n"
    done = import_ratings(workspace, written(tmp_path, lines))
    assert done.taken == Taken(new=2)
    (bad,) = done.bad
    assert str(bad).endswith(
        ":4: images/OCT-0.png is rated again at level 3, as in line 2, and the file does not say "
        "by whom: give it a column rater, or name who rated with --rater"
    )
    assert [rater.name for rater in queries.campaigns.raters(workspace.session)] == [
        "ratings/level-3/1"
    ]


def test_a_longer_file_adds_and_a_changed_value_is_a_revision(
    workspace: Workspace, tmp_path: Path
) -> None:
    add_pictures(workspace, 4)
    lines = "images/OCT-0.png,3,OCT,3,\nimages/OCT-1.png,3,OCT,3,\n"
    import_ratings(workspace, written(tmp_path, lines), rater="ann")
    longer = lines.replace("OCT-0.png,3", "OCT-0.png,1") + "images/OCT-2.png,2,OCT,3,\n"
    done = import_ratings(workspace, written(tmp_path, longer), rater="ann")
    assert done.taken == Taken(new=1, revised=1, unchanged=1)
    ratings = queries.ratings.current_ratings(workspace.session)
    assert {view.rater for view in ratings} == {"ann"}
    assert sorted(view.value for view in ratings) == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("images/none.png,3,OCT,3,", "images/none.png is no image of this workspace"),
        ("images/OCT-1.png,4,OCT,3,", "rating 4; needed: 1 to 3"),
        ("images/OCT-1.png,3,CXR,3,", "but the workspace has the image as OCT: 'finding 1'"),
        ("images/OCT-1.png,3,OCT,3,finding 0", "rated as OCT: 'finding 0'"),
        ("images/OCT-0.png,3,OCT,3,", "ann rates images/OCT-0.png again; line 2 did"),
        ("images/OCT-1.png,3,OCT,2,", "ann is known as level 3, not as in the file"),
    ],
)
def test_a_line_that_fits_nowhere_is_listed_and_the_others_go_in(
    workspace: Workspace, tmp_path: Path, line: str, reason: str
) -> None:
    add_pictures(workspace, 3)
    path = written(tmp_path, f"images/OCT-0.png,1,OCT,3,\n{line}\nimages/OCT-2.png,2,OCT,3,\n")
    done = import_ratings(workspace, path, rater="ann")
    assert done.taken == Taken(new=2)
    (bad,) = done.bad
    assert str(bad).startswith(f"{path}:3: ")
    assert reason in str(bad)


def test_a_file_cannot_add_to_a_campaign_that_was_planned(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = add_pictures(workspace, 2)
    create_campaign(
        workspace,
        name="study",
        images=images[:1],
        raters=[RaterProfile(name="ann")],
        overlap=1,
        backend="label-studio",
    )
    path = written(tmp_path, "images/OCT-0.png,1,OCT,3,\nimages/OCT-1.png,2,OCT,3,\n", "study.csv")
    done = import_ratings(workspace, path, rater="ann")
    assert done.taken == Taken(new=1)
    assert "'study' did not ask ann about this image" in str(done.bad[0])


def test_people_and_simulated_raters_do_not_meet_in_one_campaign(
    workspace: Workspace, tmp_path: Path
) -> None:
    add_pictures(workspace, 2)
    path = tmp_path / "mixed.csv"
    path.write_text(
        "image_path,rating,rater,simulated\n"
        "images/OCT-0.png,1,ann,false\nimages/OCT-1.png,2,robot,true\n"
    )
    done = import_ratings(workspace, path)
    assert done.taken == Taken(new=1)
    assert "campaign 'mixed' is of people" in str(done.bad[0])
