"""What reports say: sentences as radiologists write them, and what a reader makes of them."""

import pytest

from curate.journeys.findings import progression, read_statements, with_labels
from curate.journeys.phantoms import FINDINGS, patients

SENTENCES = """
There is a right pleural effusion.|pleural effusion|right|present|
Small left pleural effusion.|pleural effusion|left|present|
No pleural effusion.|pleural effusion||absent|
There is no evidence of pneumothorax.|pneumothorax||absent|
No focal consolidation, effusion, or pneumothorax.|consolidation||absent|
No focal consolidation, effusion, or pneumothorax.|pleural effusion||absent|
No focal consolidation, effusion, or pneumothorax.|pneumothorax||absent|
The right pleural effusion has resolved.|pleural effusion|right|absent|resolved
Resolution of the left lower lobe pneumonia.|pneumonia|left|absent|resolved
Interval clearing of the right basilar opacity.|lung opacity|right|absent|resolved
The pulmonary edema is no longer seen.|edema||absent|resolved
There is no longer a pneumothorax.|pneumothorax||absent|resolved
The left effusion has cleared.|pleural effusion|left|absent|resolved
The lungs are clear.|lung opacity||absent|
Lungs are clear of consolidation.|consolidation||absent|
The heart is enlarged.|cardiomegaly||present|
Heart size is normal.|cardiomegaly||absent|
Cardiac silhouette is mildly enlarged.|cardiomegaly||present|
The heart is not enlarged.|cardiomegaly||absent|
Mild cardiomegaly is unchanged.|cardiomegaly||present|unchanged
Stable moderate cardiomegaly.|cardiomegaly||present|unchanged
The cardiomediastinal silhouette is within normal limits.|enlarged cardiomediastinum||absent|
Widened mediastinum.|enlarged cardiomediastinum||present|
New right upper lobe opacity.|lung opacity|right|present|new
Increased left basilar opacities.|lung opacity|left|present|worse
Worsening pulmonary edema.|edema||present|worse
Pulmonary edema has improved.|edema||present|better
Interval decrease in the right effusion.|pleural effusion|right|present|
The right effusion has decreased.|pleural effusion|right|present|better
Improving left lower lobe consolidation.|consolidation|left|present|better
Bilateral pleural effusions.|pleural effusion|left|present|
Bilateral pleural effusions.|pleural effusion|right|present|
Bibasilar atelectasis.|atelectasis|right|present|
Possible pneumonia.|pneumonia||uncertain|
Pneumonia cannot be excluded.|pneumonia||uncertain|
Cannot exclude a small left effusion.|pleural effusion|left|uncertain|
Opacity concerning for pneumonia.|pneumonia||uncertain|
Findings suggest mild edema.|edema||uncertain|
Atelectasis versus pneumonia.|pneumonia||uncertain|
May represent aspiration or pneumonia.|pneumonia||uncertain|
Questionable right nodule.|lung lesion|right|uncertain|
A right lung nodule is seen.|lung lesion|right|present|
Nodule in the right lung.|lung lesion|right|present|
No right lung nodule.|lung lesion|right|absent|
No suspicious nodules or masses.|lung lesion||absent|
No acute fracture.|fracture||absent|
Healing left rib fracture.|fracture|left|present|
Pneumothorax is not seen.|pneumothorax||absent|
Right pneumothorax has increased in size.|pneumothorax|right|present|worse
No change in the small right pneumothorax.|pneumothorax|right|present|unchanged
No significant change in left effusion.|pleural effusion|left|present|unchanged
No new consolidation.|consolidation||absent|
Persistent left retrocardiac opacity.|lung opacity|left|present|unchanged
Endotracheal tube in standard position.|support devices||present|
The chest tube has been removed.|support devices||absent|resolved
Pleural thickening on the right.|pleural other|right|present|
Blunting of the left costophrenic angle.|pleural effusion|left|present|
The costophrenic angles are sharp.|pleural effusion||absent|
No acute cardiopulmonary process.|no finding||present|
No effusion, but there is left lower lobe opacity.|lung opacity|left|present|
No effusion, but there is left lower lobe opacity.|pleural effusion||absent|
No edema, although the heart is enlarged.|cardiomegaly||present|
Negative for pneumothorax.|pneumothorax||absent|
Lungs are free of consolidation or edema.|edema||absent|
Without evidence of pneumonia.|pneumonia||absent|
The opacity is less prominent.|lung opacity||present|better
Near complete resolution of the edema.|edema||present|better
Patchy left lung opacity is present.|lung opacity|left|present|
The left lung is without opacity.|lung opacity|left|absent|
No effusion on the left.|pleural effusion|left|absent|
Pneumonia is unlikely.|pneumonia||absent|
Pneumothorax has been ruled out.|pneumothorax||absent|
""".strip().splitlines()


@pytest.mark.parametrize("line", SENTENCES)
def test_a_sentence_is_read_as_a_radiologist_means_it(line: str) -> None:
    sentence, finding, side, state, change = line.split("|")
    found = read_statements(sentence)
    one = found.get((finding, side or None))
    assert one is not None, {key: vars(said) for key, said in found.items()}
    assert one.state == state
    if change:
        assert one.change == change


def test_there_are_enough_sentences_and_findings() -> None:
    assert len(SENTENCES) >= 60
    assert len({line.split("|")[1] for line in SENTENCES}) == 14


@pytest.mark.parametrize(
    ("before", "after", "text", "unchanged"),
    [
        ("Clear lungs.", "Right pleural effusion.", "New right pleural effusion.", False),
        (
            "Left effusion.",
            "The left effusion has resolved.",
            "Resolved left pleural effusion.",
            False,
        ),
        ("Edema.", "Worsening edema.", "Worse edema.", False),
        ("Cardiomegaly.", "Unchanged cardiomegaly.", "No change.", True),
        ("Effusion.", "Left effusion.", "No change.", True),
        ("Possible pneumonia.", "Possible pneumonia.", "No change.", True),
    ],
)
def test_what_changed_is_said_in_words(before: str, after: str, text: str, unchanged: bool) -> None:
    assert progression(read_statements(before), read_statements(after)) == (text, unchanged)


def test_labels_of_a_table_are_stronger_than_the_text() -> None:
    said = read_statements("Possible left pneumonia. Right pleural effusion.")
    found = with_labels(said, {"Pneumonia": 0, "Pleural Effusion": 1, "Edema": 1})
    assert found["pneumonia", "left"].state == "absent"
    assert found["pleural effusion", "right"].state == "present"
    assert found["edema", None].state == "present"


def test_the_reports_of_procedural_patients_are_read_without_a_mistake() -> None:
    names = {
        "right pleural effusion": ("pleural effusion", "right"),
        "left pleural effusion": ("pleural effusion", "left"),
        "cardiomegaly": ("cardiomegaly", None),
        "right lung nodule": ("lung lesion", "right"),
        "left lung opacity": ("lung opacity", "left"),
    }
    for patient in patients(40):
        for visit in patient.visits:
            found = read_statements(" ".join(patient.report(visit)))
            for name, present in zip(FINDINGS, visit.findings, strict=True):
                assert found[names[name]].state == ("present" if present else "absent"), (
                    patient.report(visit)
                )
