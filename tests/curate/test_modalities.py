import pytest

from curate.modalities import ALIASES, canonical_modality, modalities_named_in


@pytest.mark.parametrize(
    "name",
    ["CXR", "cxr", "Chest X-Ray", "chest xray", "Chest_X_Ray", "X-ray, chest".replace(",", "")],
)
def test_spellings_of_one_modality_have_one_name(name: str) -> None:
    assert canonical_modality(name) == "CXR"


@pytest.mark.parametrize("name", ["OCT", "Fundus", "CXR", "ChestCT", "BrainMRI", "BreastMRI"])
def test_the_names_of_the_published_tables_are_known(name: str) -> None:
    assert canonical_modality(name) == name


def test_the_names_of_the_published_configuration_are_known() -> None:
    names = ["OCT", "Chest CT", "Chest X-Ray", "Brain MRI", "Breast MRI", "Fundus"]
    assert [canonical_modality(name) for name in names] == [
        "OCT",
        "ChestCT",
        "CXR",
        "BrainMRI",
        "BreastMRI",
        "Fundus",
    ]


@pytest.mark.parametrize("name", ["CT", "MRI", "X-ray", "PET", "", "OCTA"])
def test_a_name_that_could_be_several_modalities_or_none_is_not_guessed(name: str) -> None:
    assert canonical_modality(name) is None


def test_no_spelling_stands_for_two_modalities() -> None:
    for canonical, spellings in ALIASES.items():
        for spelling in (canonical, *spellings):
            assert canonical_modality(spelling) == canonical


def test_a_description_names_its_modality_in_whole_words() -> None:
    assert modalities_named_in("Macular OCT B-scan, drusen.") == {"OCT"}
    assert modalities_named_in("frontal chest x-ray, normal") == {"CXR"}
    assert modalities_named_in("octopus on a doctor's desk") == set()


def test_a_month_is_no_modality() -> None:
    assert modalities_named_in("left eye, seen in Oct 2020") == set()


def test_a_description_may_name_two_modalities() -> None:
    assert modalities_named_in("Chest CT after the chest X-ray") == {"ChestCT", "CXR"}


def test_no_pathology_is_a_finding_and_no_modality() -> None:
    assert modalities_named_in("OCT, no pathology") == {"OCT"}
    assert canonical_modality("Pathology") == "Pathology"
