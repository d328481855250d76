import pytest

from curate.errors import CurateError
from curate.release.splits import Member, shares_of, split_by_group

SHARES = {"train": 0.7, "validation": 0.2, "test": 0.1}


def test_groups_stay_whole_and_the_shares_come_out() -> None:
    members = [Member(f"{n}", {f"prompt {n // 5}"}) for n in range(500)]
    places = split_by_group(members, SHARES)
    for start in range(0, 500, 5):
        assert len(set(places[start : start + 5])) == 1
    counts = {split: sum(s == split for s, _ in places) for split in SHARES}
    assert counts == {"train": 350, "validation": 100, "test": 50}


def test_a_patient_binds_the_prompts_that_were_made_from_his_images() -> None:
    members = [
        Member("a", {"prompt 1", "patient P"}),
        Member("b", {"prompt 2", "patient P"}),
        Member("c", {"prompt 2"}),
        *[Member(f"{n}", {f"prompt x{n}"}) for n in range(20)],
    ]
    places = split_by_group(members, SHARES)
    assert places[0] == places[1] == places[2] != places[3]
    assert not any("P" in group for _, group in places)


def test_the_order_of_images_does_not_matter() -> None:
    members = [Member(f"{n}", {f"prompt {n % 13}"}) for n in range(100)]
    assert split_by_group(members, SHARES) == split_by_group(members[::-1], SHARES)[::-1]


def test_what_was_imported_for_training_stays_there_with_all_its_group() -> None:
    members = [
        Member(f"{n}", {f"patient {n % 10}"}, "train" if n < 50 and n % 2 else None)
        for n in range(100)
    ]
    places = split_by_group(members, SHARES)
    assert {places[n][0] for n in range(100) if n % 2} == {"train"}


def test_fewer_groups_than_splits_are_refused() -> None:
    with pytest.raises(CurateError, match="1 groups .* cannot fill 3 splits"):
        split_by_group([Member("a", {"prompt"}), Member("b", {"prompt"})], SHARES)


def test_shares_leave_something_to_train_on() -> None:
    assert shares_of(0, 0) == {"train": 1}
    with pytest.raises(CurateError, match="something to train on"):
        shares_of(0.5, 0.5)
