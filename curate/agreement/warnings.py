"""What a person should know before trusting the ratings, in sentences."""

from collections.abc import Iterator, Sequence

from annotation.agreement.rasch import NoFit
from curate.agreement.figures import CriterionWorth
from curate.agreement.readers import HASTY_S, RaterWorth

MIN_CONTROLS = 8  # with fewer, one slip makes a careful rater look like a coin (Wilson)
HASTY_SHARE = 0.1  # of looks under two seconds
MIN_LOOKS = 10
NOISY, TIDY = 1.4, 0.6  # infit on rating scales: Wright and Linacre 1994, Rasch Meas. Trans. 8:370
MIN_REPEATS = 10
CHANCE = 0.5


def warnings_of(
    criteria: Sequence[CriterionWorth], raters: Sequence[RaterWorth]
) -> tuple[str, ...]:
    """Return what stands against the ratings, gravest first."""
    lines = [line for rater in raters for line in _attention(rater)]
    lines += [line for worth in criteria for line in _consistency(worth)]
    for worth in criteria:
        if worth.num_raters > 1 and worth.num_shared == 0:
            lines.append(
                f"{worth.criterion}: no image was rated by two raters, so nothing can be said of "
                "agreement. Push with --overlap 2 or more."
            )
        elif not isinstance(worth.severity, NoFit) and not worth.severity.is_connected:
            lines.append(
                f"{worth.criterion}: not all raters are tied by images in common; between groups, "
                "severities compare raters only as far as images were dealt by lot."
            )
    few = [
        rater.rater
        for rater in raters
        if not rater.simulated and (rater.controls is None or rater.controls.num < MIN_CONTROLS)
    ]
    if few:
        lines.append(
            f"Fewer than {MIN_CONTROLS} controls were answered by {', '.join(few)}: whether they "
            "looked carefully cannot be told."
        )
    return tuple(lines)


def _attention(rater: RaterWorth) -> Iterator[str]:
    controls = rater.controls
    if controls is not None and controls.num >= MIN_CONTROLS and controls.low <= CHANCE:
        right = round(controls.value * controls.num)
        yield (
            f"{rater.rater} is at chance on controls: {right} of {controls.num} right "
            f"(95 % interval {100 * controls.low:.0f} to {100 * controls.high:.0f} %)."
        )
    pace = rater.pace
    if pace is not None and pace.num >= MIN_LOOKS and pace.hasty_share > HASTY_SHARE:
        yield (
            f"{rater.rater} answered {100 * pace.hasty_share:.0f} % of {pace.num} images in under "
            f"{HASTY_S:g} s (median {pace.median_s:.1f} s)."
        )
    if rater.only_value is not None:
        yield f"{rater.rater} gave only the value {rater.only_value}."
    side = rater.left_share
    if side is not None and side.num >= MIN_LOOKS and not side.low <= CHANCE <= side.high:
        yield (
            f"{rater.rater} prefers the {'left' if side.value > CHANCE else 'right'} side: left in "
            f"{100 * side.value:.0f} % of {side.num} decided pairs."
        )


def _consistency(worth: CriterionWorth) -> Iterator[str]:
    fit = worth.severity
    if not isinstance(fit, NoFit):
        for rater in fit.raters:
            if rater.infit > NOISY:
                yield (
                    f"{rater.rater} on {worth.criterion}: grades vary more than images and "
                    f"severity explain (infit {rater.infit:.2f})."
                )
            elif rater.infit < TIDY:
                yield (
                    f"{rater.rater} on {worth.criterion}: grades vary less than expected, as of a "
                    f"rater who avoids the ends of the scale (infit {rater.infit:.2f})."
                )
    for own in worth.within:
        if own.num_images >= MIN_REPEATS and own.kappa is not None and own.kappa <= 0:
            yield (
                f"{own.rater} on {worth.criterion}: {own.num_images} second looks agree with the "
                f"first no better than chance (weighted kappa {own.kappa:.2f})."
            )
