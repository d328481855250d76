"""The certificate of a release: what is promised of its images, from which ratings, how tested.

It holds the counts that the promise rests on, so that anybody can work it out again: `recheck`
does, from the release alone.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate.errors import CurateError
from curate.release.config import ALL
from curate.release.tables import csv_bytes, read_csv
from curate.scoring.calibration import Calibration
from curate.scoring.promise import Promise, Rung, certified, chance_of_so_few, lower_bound
from db.queries.images import ScoredImage

CERTIFICATE = "certificate.json"
CALIBRATION = "calibration.csv"
FORMAT = "curate-certificate-1"
VERDICTS = {True: "yes", False: "no", None: "unrated"}  # of a drawn image: is it good?
METHOD = (
    "Learn then test with fixed-sequence testing (Angelopoulos et al. 2021): thresholds from "
    "strict to lenient, each tested with the exact binomial tail (Clopper and Pearson 1934) on "
    "images drawn at random and rated, until one fails. Copies, likenesses and what is "
    "over a label's limit are left out before; drawn images that were not rated good, after."
)


@dataclass(frozen=True)
class Certified:
    """One promise that the ratings carry: for all modalities together, or for one."""

    modality: str  # ALL, or its name
    threshold: float
    num_images: int  # that leave
    num_rated: int  # drawn and admitted by the threshold
    num_errors: int  # of them not good, or without a rating; they do not leave
    precision_bound: float  # at least this share is good, at the confidence of the test
    chance: float  # of so few errors, were the promise just broken
    rungs: tuple[Rung, ...]  # every threshold that could have been, strict first


@dataclass(frozen=True)
class Certificate:
    """The promises of one release and what they rest on."""

    promise: Promise
    calibration: Calibration
    certified: tuple[Certified, ...]
    failed: tuple[str, ...]  # modalities for which no threshold keeps the promise: none leaves
    # the label classifier that left images out before, and how far it may be trusted
    label_check: Mapping[str, Any] | None = None
    edits: Mapping[str, int] | None = None  # how many patients stand behind them

    @property
    def test(self) -> Promise:
        """The promise that each test was held to: stricter where there are several."""
        return self.promise.shared_by(len(self.certified) + len(self.failed))


def certify(
    modality: str, rungs: Sequence[Rung], promise: Promise, share_rated: float
) -> Certified | None:
    """Return what is certified at the most lenient threshold that can be, if any can."""
    found = certified(rungs, promise, share_rated=share_rated)
    if found is None:
        return None
    return Certified(
        modality=modality,
        threshold=found.threshold,
        num_images=found.num_images - found.num_errors,
        num_rated=found.num_rated,
        num_errors=found.num_errors,
        precision_bound=lower_bound(found.num_errors, found.num_rated, promise.confidence),
        chance=chance_of_so_few(found.num_errors, found.num_rated, promise),
        rungs=tuple(rungs),
    )


def certificate_json(certificate: Certificate) -> dict[str, Any]:
    """Return the certificate as its file holds it."""
    calibration = certificate.calibration
    return {
        "format": FORMAT,
        "target_precision": certificate.promise.target,
        "confidence": certificate.promise.confidence,
        "confidence_of_each_test": certificate.test.confidence,
        "method": METHOD,
        "simulated_ratings": calibration.simulated,
        "calibration": {
            "campaign": calibration.campaign,
            **({"machines": list(calibration.machines)} if calibration.machines else {}),
            "num_drawn": len(calibration.good),
            "num_drawn_from": len(calibration.pool),
            "num_unrated": sum(good is None for good in calibration.good.values()),
            "num_ratings": calibration.num_ratings,
            "good_from": dict(calibration.good_from),
            "ratings_sha256": calibration.ratings_sha256,
            "pool_sha256": calibration.pool_sha256,
            **(
                {"by_criterion": {name: list(n) for name, n in calibration.by_criterion.items()}}
                if calibration.by_criterion
                else {}
            ),
        },
        "certified": [_plain(part) for part in certificate.certified],
        "failed": list(certificate.failed),
        **({"label_check": certificate.label_check} if certificate.label_check else {}),
        **({"edits": certificate.edits} if certificate.edits else {}),
    }


def _plain(part: Certified) -> dict[str, Any]:
    return {**asdict(part), "rungs": [asdict(rung) for rung in part.rungs]}


def certificate_bytes(certificate: Certificate) -> bytes:
    """Return the certificate's file."""
    return (json.dumps(certificate_json(certificate), indent=1, sort_keys=True) + "\n").encode()


def calibration_csv(
    calibration: Calibration, images: Sequence[ScoredImage], admitted: Collection[str]
) -> bytes:
    """Return the drawn images: score, whether raters found them good, whether they were admitted.

    The certificate's counts are those of the admitted; `admitted` are item keys.
    """
    rows = (
        [
            image.item_key,
            image.modality,
            image.score,
            VERDICTS[calibration.good[image.image_id]],
            "yes" if image.item_key in admitted else "no",
        ]
        for image in sorted(images, key=lambda image: image.item_key)
        if image.image_id in calibration.good
    )
    return csv_bytes(["item_key", "modality", "score", "good", "admitted"], rows)


def certificate_lines(values: Mapping[str, Any]) -> list[str]:
    """Return a certificate for a person to read; `values` is what its file holds."""
    who = "simulated raters" if values["simulated_ratings"] else "raters"
    drawn = values["calibration"]
    who += f" and, as raters too, {', '.join(drawn['machines'])}" if "machines" in drawn else ""
    from_ = ", ".join(f"{name} {least}" for name, least in drawn["good_from"].items())
    return [
        f"promised at {100 * values['confidence']:g} % confidence: at least "
        f"{100 * values['target_precision']:g} % of the images are good, as {who} would say "
        f"(consensus from {from_} on)",
        f"  from {drawn['num_drawn']} images drawn at random of {drawn['num_drawn_from']} by "
        f"campaign {drawn['campaign']}, {drawn['num_unrated']} of them unrated (counted as errors)",
        *(
            f"  {name}: {good} of {answered} answers are good"
            for name, (good, answered) in drawn.get("by_criterion", {}).items()
        ),
        *(
            f"  {part['modality']}: threshold {part['threshold']:.3f}, {part['num_errors']} errors "
            f"in {part['num_rated']} rated, so at least {100 * part['precision_bound']:.1f} % "
            f"good; {part['num_images']} images leave"
            for part in values["certified"]
        ),
        *(
            f"  {modality}: no threshold keeps the promise; none leaves"
            for modality in values["failed"]
        ),
        *(
            f"  {values['edits']['num_patients']} real patients stand behind "
            f"{values['edits']['num_edits']} edits"
            for _ in range("edits" in values)
        ),
    ]


def recheck(certificate: bytes, calibration: bytes, *, are_defused: bool = False) -> list[str]:
    """Work a certificate's tests out again from its files; return what does not hold."""
    try:
        values = json.loads(certificate)
        rows = read_csv(calibration, are_defused=are_defused)
        return [*_tests_that_fail(values), *_counts_that_differ(values, rows)]
    except (ValueError, KeyError, TypeError, ZeroDivisionError, CurateError) as error:
        return [f"not a whole certificate ({type(error).__name__}: {error})"]


def _tests_that_fail(values: Mapping[str, Any]) -> Iterator[str]:
    promise = Promise(values["target_precision"], values["confidence"])
    test = promise.shared_by(len(values["certified"]) + len(values["failed"]))
    share = values["calibration"]["num_drawn"] / values["calibration"]["num_drawn_from"]
    for part in values["certified"]:
        again = certify(part["modality"], [Rung(**rung) for rung in part["rungs"]], test, share)
        if again is None:
            yield f"{part['modality']}: its counts support no promise"
        elif _plain(again) != part:
            yield f"{part['modality']}: its counts give another threshold or bound"


def _counts_that_differ(
    values: Mapping[str, Any], rows: Sequence[Mapping[str, str]]
) -> Iterator[str]:
    for part in values["certified"]:
        of_part = [row for row in rows if part["modality"] in (ALL, row["modality"])]
        passed = [row for row in of_part if row["admitted"] == "yes"]
        errors = sum(row["good"] != "yes" for row in passed)
        if (len(passed), errors) != (part["num_rated"], part["num_errors"]):
            yield (
                f"{part['modality']}: {CALIBRATION} has {errors} errors in {len(passed)} rated, "
                f"the certificate {part['num_errors']} in {part['num_rated']}"
            )


def images_that_differ(certificate: bytes, images: Sequence[tuple[str, float]]) -> list[str]:
    """Hold a release's images, (modality, score), against its certificate; return the faults."""
    try:
        parts = json.loads(certificate)["certified"]
        faults = []
        for part in parts:
            scores = [s for modality, s in images if part["modality"] in (ALL, modality)]
            below = sum(score < part["threshold"] for score in scores)
            if len(scores) != part["num_images"] or below:
                faults.append(
                    f"{part['modality']}: {len(scores)} images, {below} below the threshold; "
                    f"{part['num_images']} were certified"
                )
        num_certified = sum(part["num_images"] for part in parts)
        if num_certified != len(images):
            faults.append(f"{len(images)} images, but {num_certified} are certified")
        return faults
    except (ValueError, KeyError, TypeError) as error:
        return [f"not a whole certificate ({type(error).__name__}: {error})"]
