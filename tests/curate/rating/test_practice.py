"""Rater training: images of known answers before a campaign, and nothing of it among ratings."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest
from sqlmodel import select
from typer.testing import CliRunner

import cli
from annotation.base import RaterProfile
from curate.agreement.readers import controls_right
from curate.errors import CurateError
from curate.rating.ask import check_asks_the_same, practice_named, unpractised
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.rating.config import PracticeOptions, PushOptions, SimulateOptions
from curate.rating.plan import plan_campaign
from curate.rating.practice import _half, make_practice
from curate.rating.practised import (
    image_asked,
    is_right,
    num_needed,
    passed_before,
    record,
    standings,
    standings_of_campaign,
)
from curate.rating.report import campaign_rows
from curate.rating.rubrics import load_rubric
from curate.rating.simulate import _new_campaign, simulate_campaign
from curate.status import read_status
from curate.workspace import Workspace
from db import queries
from db.models import Assignment, Criterion, PracticeAnswer, Rating
from db.queries.ratings import Look
from tests.curate.pictures import add_pictures, add_pixels, picture
from tests.curate.rating.practising import (
    OPTIONS,
    add_people,
    add_practice,
    campaign_after,
    known_table,
    right_answer,
    said_by_an_expert,
    wrong_answer,
)
from tests.curate.rating.test_simulated_criteria import TwofoldEyes

ROOT = Path(__file__).parents[3]


def answer(ws: Workspace, name: str, count: int, *, wrong: tuple[int, ...] = ()) -> None:
    """Let a rater answer the next images, those at the places in `wrong` otherwise than known."""
    [practice] = queries.practices.practices(ws.session)
    images = queries.practices.images_of(ws.session, practice.id)
    [rater] = [row for row in queries.campaigns.raters(ws.session) if row.name == name]
    begun = len(queries.practices.answers_of(ws.session, practice.id, rater.id))
    for place in range(count):
        one = image_asked(practice, images, name, begun + place)
        said = wrong_answer(one) if place in wrong else right_answer(one)
        record(ws, practice, images, rater, begun + place, said)


def test_a_pass_repeats_until_the_bar_is_met_and_then_nothing_more_is_taken(
    workspace: Workspace,
) -> None:
    practice, others = add_practice(workspace)
    campaign = campaign_after(workspace, practice, others)
    answer(workspace, "ann", 10, wrong=(0, 4, 9))  # 7 of 10, and 8 are needed
    answer(workspace, "ann", 4, wrong=(1,))
    ann, ben = standings(workspace, practice)
    assert (ann.passes, ann.num_begun, ann.num_right, ann.has_passed) == ((7,), 4, 3, False)
    assert ann.by_criterion["looks-real"] == (7, 10)  # of the whole pass
    assert ann.by_criterion["shows-asked"][0] == ann.by_criterion["shows-asked"][1] < 10
    assert (ben.line(), ben.accuracy) == ("not begun", None)
    assert ann.line() == "4 of 10 in pass 2; in pass 1 7 of 10 right (70 %), needed 8"
    answer(workspace, "ann", 9, wrong=(5,))  # six are left: the others are not taken
    ann, ben = standings(workspace, practice)
    assert (ann.passes, ann.num_begun, ann.accuracy) == ((7, 8), 0, 0.8)
    assert ann.line() == "passed with 8 of 10 right (80 %) in pass 2"
    assert len(queries.practices.answers_of(workspace.session, practice.id)) == 20
    (row,) = [row for row in campaign_rows(workspace) if row["campaign"] == campaign.name]
    assert (row["practice"]["passed"], row["answered"]) == (1, 0)
    assert read_status(workspace).practice == [
        "practice warm-up: ann passed with 8 of 10 right (80 %) in pass 2",
        "practice warm-up: ben not begun",
    ]


def test_an_answer_counts_once_and_only_for_the_image_at_hand(workspace: Workspace) -> None:
    practice, others = add_practice(workspace)
    campaign_after(workspace, practice, others)
    images = queries.practices.images_of(workspace.session, practice.id)
    [ann] = add_people(workspace, "ann")
    first = image_asked(practice, images, "ann", 0)
    record(workspace, practice, images, ann, 0, wrong_answer(first))
    record(workspace, practice, images, ann, 0, right_answer(first))  # sent again, having seen it
    [said] = queries.practices.answers_of(workspace.session, practice.id)
    assert said.verdicts == wrong_answer(first)
    for number, verdicts, fault in (
        (2, {}, "Image 3 comes after image 2"),
        (1, {"looks-real": 4}, "4 is no answer to 'looks-real'"),
        (1, {"beauty": 1}, "1 is no answer to 'beauty'"),
    ):
        with pytest.raises(CurateError, match=fault):
            record(workspace, practice, images, ann, number, verdicts)
    assert len(queries.practices.answers_of(workspace.session, practice.id)) == 1


def test_passes_show_different_images_in_an_order_of_the_raters_own_each_of_all_kinds(
    workspace: Workspace,
) -> None:
    practice, _ = add_practice(workspace, 24, pass_size=12, bar=0.9)
    images = queries.practices.images_of(workspace.session, practice.id)

    def shown(rater: str, which: int) -> list[str]:
        numbers = range(12 * which, 12 * which + 12)
        return [str(image_asked(practice, images, rater, n).item.id) for n in numbers]

    assert len({*shown("ann", 0), *shown("ann", 1)}) == 24  # nothing twice while there is more
    assert sorted(shown("ann", 0)) == sorted(shown("ben", 0)) == sorted(shown("ann", 2))
    assert shown("ann", 0) not in (shown("ben", 0), shown("ann", 2))
    known = {str(one.item.id): one.item.known["looks-real"] for one in images}
    for which in range(3):
        assert Counter(known[one][0] for one in shown("ann", which)) == {1: 6, 3: 6}
    assert num_needed(0.9, 12) == 11 and num_needed(0.8, 10) == 8 and num_needed(0.7, 10) == 7


def test_what_is_blank_is_not_wrong_and_what_is_all_blank_is_not_right(
    workspace: Workspace,
) -> None:
    practice, _ = add_practice(workspace)
    images = queries.practices.images_of(workspace.session, practice.id)
    both = next(one.item for one in images if len(one.item.known) == 2)
    assert is_right(both, {"looks-real": both.known["looks-real"][0]})
    assert not is_right(both, {})
    low, high = both.known["shows-asked"]
    assert not is_right(
        both, {name: ends[0] for name, ends in both.known.items()} | {"shows-asked": 4 - low}
    )
    assert high <= 3


@pytest.mark.parametrize(
    ("low", "high", "polarity"), list(product((1, 0), (2, 3, 4, 5), ("higher", "lower")))
)
def test_of_controls_that_is_right_which_the_figures_of_agreement_call_right(
    low: int, high: int, polarity: str
) -> None:
    criterion = Criterion(
        rubric_id=uuid4(), name="q", question="?", min_value=low, max_value=high, polarity=polarity
    )
    for good, value in product((True, False), range(low, high + 1)):
        look = Look(
            assignment_id=uuid4(), campaign_id=uuid4(), rater="a", simulated=False,
            expert_level=3, criterion="q", kind="scale", min_value=low, max_value=high,
            polarity=polarity, purpose="control", image_id=uuid4(), other_image_id=None,
            origin="real", spoiled=None if good else "noisy", verdict=value, lead_time_s=None,
            rated_at=None,  # type: ignore[arg-type]
        )  # fmt: skip
        least, most = _half(criterion, good=good)
        assert [least <= value <= most] == controls_right([look])


def test_controls_are_real_images_every_other_one_spoiled_with_a_reason(
    workspace: Workspace,
) -> None:
    add_pictures(workspace, 40)
    practice = make_practice(workspace, "controls", PracticeOptions())
    items = [one.item for one in queries.practices.images_of(workspace.session, practice.id)]
    spoiled = [item for item in items if item.spoiled]
    assert (len(items), len(spoiled), practice.pass_size) == (20, 10, 20)
    assert all(item.known == {"looks-real": [1, 1]} for item in spoiled)
    assert all(f"spoiled ({item.spoiled})" in item.why for item in spoiled)
    whole = [item for item in items if not item.spoiled]
    assert all(item.known == {"looks-real": [2, 3], "shows-asked": [2, 3]} for item in whole)
    assert make_practice(workspace, "controls", PracticeOptions()).id == practice.id  # again
    with pytest.raises(CurateError, match="'controls' exists with other images"):
        make_practice(workspace, "controls", PracticeOptions(bar=0.9))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image_id": "x"}, r"known.csv:2: 'x' is no image's id"),
        ({"image_id": uuid4()}, r"known.csv:2: .* is no image of this workspace"),
        ({"criterion:looks-real": 4}, r"csv:2: looks-real '4'; needed: 1 to 3"),
        ({"criterion:looks-real": "3-1"}, r"csv:2: looks-real '3-1'; needed: 1 to 3"),
        ({"criterion:beauty": 2}, r"csv:2: no criterion 'beauty'; known: looks-real, shows-asked"),
        ({"spoiled": "torn"}, r"csv:2: spoiled 'torn'; known: blocks, blurred"),
        (
            {"criterion:looks-real": "", "criterion:shows-asked": ""},
            r"csv:2: no answer is known; needed: one in a column criterion:NAME",
        ),
    ],
)
def test_a_line_that_cannot_be_known_is_named(
    workspace: Workspace, change: dict[str, object], fault: str
) -> None:
    rows = said_by_an_expert(add_pictures(workspace, 10))
    path = known_table(workspace.folder / "known.csv", [rows[0] | change, *rows[1:]])
    with pytest.raises(CurateError, match=fault) as raised:
        make_practice(workspace, "bad", replace(OPTIONS, known=path))
    assert "\n" not in str(raised.value)
    assert queries.practices.practices(workspace.session) == []


def test_what_lets_a_rater_pass_who_does_not_look_is_refused(workspace: Workspace) -> None:
    images = add_pictures(workspace, 10)
    rows = said_by_an_expert(images)

    def refused(rows: list[dict[str, object]], **options: object) -> str:
        path = known_table(workspace.folder / "known.csv", rows)
        with pytest.raises(CurateError) as raised:
            make_practice(workspace, "bad", replace(OPTIONS, known=path, **options))  # type: ignore[arg-type]
        return str(raised.value)

    assert "stands in an earlier line already" in refused([*rows, rows[0]])
    # of three images two are enough at 0.6: by lot 1/3 of one question, so 3/9 + 1/27 - ...
    one = [{"image_id": i.id, "criterion:looks-real": 1 + n} for n, i in enumerate(images[:3])]
    assert "3 practice images are too few: who answers by lot meets 2" in refused(one, bar=0.6)
    assert "a chance of 26 %" in refused(one, bar=0.6)  # 3 * 1/9 * 2/3 + 1/27 = 0.259
    all_good = [{"image_id": i.id, "criterion:looks-real": 3} for i in images]
    assert "Who answers looks-real 3 to every image would meet" in refused(all_good)
    assert "A pass of 12 images, but 10" in refused(rows, pass_size=12)
    assert "--bar 1.5; needed: above 0, to 1" in refused(rows, bar=1.5)
    assert "25 controls, but 0 real images" in refused(rows, num_controls=25)
    path = known_table(workspace.folder / "known.csv", [{"image_id": images[0].id}])
    path.write_text("file,looks-real\nx,1\n")
    with pytest.raises(CurateError, match="it needs a column image_id"):
        make_practice(workspace, "bad", replace(OPTIONS, known=path))
    with pytest.raises(CurateError, match="cannot be read: No such file"):
        make_practice(workspace, "bad", replace(OPTIONS, known=Path("nowhere.csv")))


def test_a_campaign_shows_no_image_of_its_practice_nor_what_its_raters_practised_on(
    workspace: Workspace,
) -> None:
    practice, others = add_practice(workspace)
    practised = {
        one.image.id for one in queries.practices.images_of(workspace.session, practice.id)
    }
    # the file of a practice image under another prompt
    [twin] = add_pixels(workspace, [picture(0, 0)], modality="CT")
    assert twin.id not in practised
    assert unpractised(workspace, [twin], None, []) == [twin]
    assert unpractised(workspace, [twin], practice.id, []) == []
    add_people(workspace, "ann", "ben")
    options = PushOptions(
        name="blind", origin="real", practice="warm-up", control_fraction=0.3, max_images=12
    )
    campaign = plan_campaign(workspace, options)
    views = queries.campaigns.assignments(workspace.session, campaign.id)
    shown = {view.image_id for view in views}
    assert any(view.purpose == "control" for view in views)
    assert shown <= {image.id for image in others} and twin.id not in shown
    assert standings_of_campaign(workspace, campaign.id) is not None
    answer(workspace, "ann", 10)
    left = [image for image in others if image.id not in shown]
    left += [
        row[0] for row in queries.images.images_by_id(workspace.session, sorted(practised)).values()
    ]
    after = unpractised(workspace, left, None, ["ann"])  # in any other campaign of hers
    assert {image.id for image in after} & practised == set()
    assert len(unpractised(workspace, left, None, ["ben"])) == len(left)
    plan = CampaignPlan(
        name="by hand",
        items=(Item(image_id=sorted(practised)[0]),),
        raters=(RaterProfile(name="ann"),),
        overlap=1,
        seed=0,
        backend="label-studio",
        practice_id=practice.id,
    )
    with pytest.raises(ValueError, match="1 images of the practice are in 'by hand'"):
        make_campaign(workspace, plan, queries.campaigns.default_rubric(workspace.session)[0])
    with pytest.raises(CurateError, match="'first' exists and comes after no practice|No practice"):
        plan_campaign(workspace, replace(options, practice="other"))


def test_a_practice_of_an_older_version_of_the_rubric_does_not_count(workspace: Workspace) -> None:
    practice, _ = add_practice(workspace, bar=0.7)
    rubric = workspace.folder / "minim.toml"
    rubric.write_text(
        'name = "minim"\n[[criteria]]\nname = "looks-real"\nquestion = "Anew?"\nscale = [1, 3]\n'
        '[[criteria]]\nname = "shows-asked"\nquestion = "As asked?"\nscale = [1, 3]\n'
    )
    newer = load_rubric(workspace, rubric)
    add_people(workspace, "ann", "ben")
    options = PushOptions(name="new", origin="real", practice="warm-up", rubric=rubric)
    with pytest.raises(
        CurateError, match="asks version 2 of the rubric 'minim', and the campaign version 3"
    ):
        plan_campaign(workspace, options)
    answer(workspace, "ann", 10)
    again = make_practice(
        workspace, "again", replace(OPTIONS, known=workspace.folder / "known.csv", rubric=rubric)
    )
    check_asks_the_same(workspace, again, newer)
    said = "ann passed 'warm-up' in version 2 of the rubric 'minim'; this is version 3"
    assert passed_before(workspace, again, "ann").startswith(said)
    assert passed_before(workspace, again, "ben") == ""
    assert passed_before(workspace, practice, "ann") == ""
    with pytest.raises(CurateError, match="asks about one image at a time"):
        plan_campaign(workspace, replace(options, practice="again", pairs=True))
    campaign = plan_campaign(workspace, replace(options, practice="again"))
    with pytest.raises(CurateError, match="'new' exists and comes after practice 'again'"):
        practice_named(workspace, replace(options, practice="warm-up"), campaign)


def simulated_practice(ws: Workspace, *, bar: float = 0.8) -> None:
    """A practice whose answers are what the pictures' brightness says."""
    images = add_pictures(ws, 60)
    bright = [(n * 0.618) % 1 for n in range(60)]
    clear = [n for n in range(60) if abs(bright[n] - 0.35) > 0.12 and abs(bright[n] - 0.65) > 0.12]
    rows = [
        {
            "image_id": images[n].id,
            "criterion:looks-real": 1 + (bright[n] > 0.35) + (bright[n] > 0.65),
        }
        for n in clear[:20]
    ]
    path = known_table(ws.folder / "known.csv", rows)
    make_practice(ws, "warm-up", PracticeOptions(known=path, bar=bar))


def simulated(ws: Workspace) -> tuple[int, int]:
    """Let simulated raters practise and rate; return how many images were answered, of how many."""
    options = SimulateOptions(origin="real", practice="warm-up", max_images=20, control_fraction=0)
    known = queries.campaigns.campaigns(ws.session)
    campaign = known[-1] if known else _new_campaign(ws, options, TwofoldEyes())
    simulate_campaign(ws, campaign, eyes=TwofoldEyes(), advance=lambda _: None)
    row = queries.campaigns.progress_of_campaigns(ws.session)[-1]
    return row.num_answered, row.num_assignments


def test_simulated_raters_practise_first_and_none_of_it_is_a_rating(workspace: Workspace) -> None:
    simulated_practice(workspace)
    answered, assigned = simulated(workspace)
    assert answered == assigned > 0
    [practice] = queries.practices.practices(workspace.session)
    own = standings(workspace, practice)
    assert [one.has_passed for one in own] == [True] * 3
    assert all(one.simulated and one.accuracy >= 0.8 for one in own if one.accuracy is not None)
    ratings = queries.ratings.current_ratings(workspace.session)
    practised = {
        one.image.id for one in queries.practices.images_of(workspace.session, practice.id)
    }
    assert {view.image_id for view in ratings} & practised == set()
    rows = workspace.session.exec(select(Rating)).all()
    asked = set(workspace.session.exec(select(Assignment.id)))
    assert {row.assignment_id for row in rows} <= asked
    assert read_status(workspace).counts["ratings"] == len(ratings)


def test_who_does_not_meet_the_bar_is_asked_nothing(workspace: Workspace) -> None:
    simulated_practice(workspace, bar=1.0)  # lapses alone keep most from it
    answered, assigned = simulated(workspace)
    [practice] = queries.practices.practices(workspace.session)
    passed = {one.rater for one in standings(workspace, practice) if one.has_passed}
    assert len(passed) < 3 and answered < assigned
    ratings = queries.ratings.current_ratings(workspace.session)
    assert {view.rater for view in ratings} == passed
    before = len(queries.practices.answers_of(workspace.session, practice.id))
    simulated(workspace)  # goes on, with further passes
    assert len(queries.practices.answers_of(workspace.session, practice.id)) > before


# a rater of every seventh mind, who answers forty images; it imports no torch
CHILD = """
import sys
from curate.rating.practised import image_asked, record
from curate.workspace import open_workspace
from db import queries
with open_workspace(sys.argv[1]) as ws:
    [practice] = queries.practices.practices(ws.session)
    images = queries.practices.images_of(ws.session, practice.id)
    [ann] = [row for row in queries.campaigns.raters(ws.session) if row.name == 'ann']
    begun = len(queries.practices.answers_of(ws.session, practice.id, ann.id))
    for number in range(begun, 40):
        record(ws, practice, images, ann, number, {'looks-real': 1 + number % 7 % 3})
"""


def practised_rows(ws: Workspace) -> list[tuple[object, ...]]:
    """Return all answers by what they say."""
    ws.session.rollback()
    names = {row.id: row.name for row in queries.campaigns.raters(ws.session)}
    return sorted(
        (names[row.rater_id], row.number, str(row.item_id), sorted(row.verdicts.items()))
        for row in ws.session.exec(select(PracticeAnswer))
    )


@pytest.mark.slow
def test_killed_in_the_middle_nothing_is_lost_and_nothing_doubled(
    workspace: Workspace,
) -> None:
    practice, others = add_practice(workspace)
    campaign_after(workspace, practice, others)
    images = queries.practices.images_of(workspace.session, practice.id)
    command = [sys.executable, "-c", CHILD, str(workspace.folder)]
    for seen in (2, 9, 17, 41):
        child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        while len(practised_rows(workspace)) < seen and child.poll() is None:
            time.sleep(0.002)
        child.kill()
        assert child.wait() in (-signal.SIGKILL, 0)
        num = len(practised_rows(workspace))
        assert seen <= num or num == 40
    assert practised_rows(workspace) == sorted(
        (
            "ann",
            number,
            str(image_asked(practice, images, "ann", number).item.id),
            [("looks-real", 1 + number % 7 % 3)],
        )
        for number in range(40)
    )


def test_the_commands_make_a_practice_and_tell_who_has_passed(workspace: Workspace) -> None:
    practice, others = add_practice(workspace)
    campaign_after(workspace, practice, others[:12])
    answer(workspace, "ann", 10, wrong=(3,))
    workspace.session.commit()

    def run(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(cli.app, ["rate", *arguments, "-w", str(workspace.folder)])
        assert result.exit_code == status, result.output
        return result.output

    shown = run("practice")
    assert "90 % [60, 98] of 10" in shown  # Wilson's interval of 9 of 10
    assert "looks-real 9/10" in shown and "not begun" in shown
    assert "1 of 2" in run("status")
    known = str(workspace.folder / "known.csv")
    made = run("practice", "make", "second", "--known", known, "--controls", "4", "--bar", "0.9")
    assert "14 images, 2 of them spoiled, by version 2 of the rubric 'minim'" in made
    assert "who has 13 of them right" in made
    said = run("practice", "make", "second", "--known", known, status=1)
    assert "'second' exists with other images" in said
