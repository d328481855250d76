"""A long command is seen, paused and stopped by its parts, as a run of images is."""

import json
import threading
from pathlib import Path

import pytest

from curate.errors import CurateError, Stopped
from curate.production.watch import (
    ask,
    ask_run,
    line_in_words,
    log_lines,
    run_states,
    state_of,
)
from curate.production.work import at_work
from curate.progress import progress, wait_for


def test_each_part_of_a_command_is_told_of_and_the_end_too(tmp_path: Path) -> None:
    with at_work(tmp_path, "evaluate", "settings"):
        [state] = run_states(tmp_path)
        assert state.line().endswith(": starting") and state.kind == "evaluate"
        with progress(2, "versions") as advance:
            advance(1)
            with progress(5, "sets") as inner:  # a part on the way of another
                inner(5)
                [state] = run_states(tmp_path)
                assert (state.done, state.planned, state.what) == (5, 5, "sets")
            advance(1)
            [state] = run_states(tmp_path)
            assert (state.done, state.planned, state.what) == (2, 2, "versions")
            assert state.is_working and "2 of 2 versions, running" in state.line()
    [state] = run_states(tmp_path)
    assert (state.state, state.done) == ("finished", 2) and not state.is_working
    events = [json.loads(line)["event"] for line in log_lines(tmp_path, None)]
    assert events[0] == "started" and events[-1] == "finished" and events.count("part") == 3


def test_a_command_stops_after_the_step_at_hand_when_it_is_asked_to(tmp_path: Path) -> None:
    done = []
    with (
        pytest.raises(Stopped, match="Stopped after 3 of 9 images. The same command goes on"),
        at_work(tmp_path, "export"),
        progress(9, "images") as advance,
    ):
        for number in range(9):
            if number == 2:
                assert ask_run(tmp_path, None, "stop").startswith("Export ")
            done.append(number)
            advance(1)
    assert done == [0, 1, 2]
    [state] = run_states(tmp_path)
    assert (state.state, state.done, state.message) == ("stopped", 3, "")


def test_a_paused_command_waits_until_it_may_go_on(tmp_path: Path) -> None:
    with at_work(tmp_path, "score"), progress(2, "images") as advance:
        [state] = run_states(tmp_path)
        ask(tmp_path, state.run_id, "pause")
        going_on = threading.Timer(0.3, ask, (tmp_path, state.run_id, "run"))
        going_on.start()
        advance(1)
        assert not going_on.is_alive()  # it came back only now
    events = [line_in_words(line).split(" ", 2)[2] for line in log_lines(tmp_path, None)]
    assert [event for event in events if "=" not in event] == ["paused", "resumed"]


def test_what_failed_says_why_and_the_same_command_again_is_the_same_work(tmp_path: Path) -> None:
    with pytest.raises(CurateError), at_work(tmp_path, "score", "a"):
        raise CurateError("No reward model.")
    [failed] = run_states(tmp_path)
    assert failed.line().endswith(": failed: No reward model.")
    with at_work(tmp_path, "score", "a"):
        pass
    with at_work(tmp_path, "score", "b"):
        pass
    assert len(run_states(tmp_path)) == 2
    now = state_of(tmp_path, failed.run_id)
    assert now is not None and now.line() == f"score {failed.run_id[:12]}: finished"


def test_whoever_asks_for_no_run_by_name_asks_the_command_not_its_parts(tmp_path: Path) -> None:
    with at_work(tmp_path, "loop", "first"), at_work(tmp_path, "rl-step", 1):
        assert ask_run(tmp_path, None, "stop").startswith("Loop ")
        part = next(state for state in run_states(tmp_path) if state.command == "rl-step")
        assert ask_run(tmp_path, part.run_id[:12], "stop").startswith("Rl-step ")


def test_a_command_that_waits_for_people_can_be_stopped(tmp_path: Path) -> None:
    with pytest.raises(Stopped), at_work(tmp_path, "loop", "first"):
        ask_run(tmp_path, None, "stop")
        wait_for("round that waits for its raters")


def test_to_follow_a_log_ends_with_the_work(tmp_path: Path) -> None:
    told: list[str] = []

    def follow() -> None:
        told.extend(log_lines(tmp_path, None, follow=True))

    with at_work(tmp_path, "import", "table.csv"):
        following = threading.Thread(target=follow)
        following.start()
    following.join(10)
    assert [json.loads(line)["event"] for line in told] == ["started", "finished"]
