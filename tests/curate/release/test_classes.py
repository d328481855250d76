"""What a release keeps of each class."""

from curate.release.classes import kept_by_class, warning_lines

OFFERED = {("OCT", "dme"): 16, ("OCT", "normal"): 16, ("CXR", None): 10, ("Fundus", "dr3"): 16}


def test_a_class_is_short_below_a_third_of_the_median_share() -> None:
    kept = {("OCT", "normal"): 12, ("CXR", None): 5, ("Fundus", "dr3"): 4}
    found = kept_by_class(kept, OFFERED)
    assert [(one.modality, one.label, one.kept, one.offered) for one in found] == [
        ("CXR", None, 5, 10),
        ("Fundus", "dr3", 4, 16),
        ("OCT", "dme", 0, 16),
        ("OCT", "normal", 12, 16),
    ]
    # shares 0.5, 0.25, 0, 0.75: median 0.375, a third of it 0.125
    assert [one.label for one in found if one.is_short] == ["dme"]
    kept[("Fundus", "dr3")] = 1  # 0.0625; the median falls to 0.28125, a third of it 0.09375
    assert [one.label for one in kept_by_class(kept, OFFERED) if one.is_short] == ["dr3", "dme"]


def test_a_modality_that_vanished_is_said_beside_its_classes() -> None:
    kept = {("OCT", "normal"): 12, ("OCT", "dme"): 9, ("CXR", None): 5}
    assert warning_lines(kept_by_class(kept, OFFERED)) == [
        "WARNING: kept 0 of 16 Fundus dr3 (0 %)",
        "WARNING: no Fundus image is in this release",
    ]
    assert warning_lines(kept_by_class(OFFERED, OFFERED)) == []


def test_a_class_short_of_its_quota_is_said() -> None:
    kept = {("OCT", "normal"): 8, ("OCT", "dme"): 8, ("CXR", None): 6, ("Fundus", "dr3"): 8}
    assert warning_lines(kept_by_class(kept, OFFERED, quota=8)) == [
        "WARNING: kept 6 of 10 CXR without label (60 %), fewer than the quota of 8"
    ]
