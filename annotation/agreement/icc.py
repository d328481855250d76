"""Intraclass correlations: how much of the variance of grades is variance of images.

Two-way random effects, grade = mean + image + rater + rest, with the variances by the method of
fitting constants (Henderson 1953, Biometrics 9:226, method 3), which takes any pattern of missing
grades and, where none is missing, gives just the mean squares of Shrout and Fleiss (1979, Psychol.
Bull. 86:420). Shapes: I images, R raters, S resamples.
"""

from dataclasses import dataclass

import numpy as np

from annotation.agreement.table import Floats, GradeTable


@dataclass(frozen=True)
class Correlations:
    """Intraclass correlations [S]; NaN where they are undefined."""

    agreement: Floats  # ICC(A,1) = ICC(2,1): one rater's grades; severity counts as disagreement
    consistency: Floats  # ICC(C,1) = ICC(3,1): one rater's grades; severity is removed
    agreement_of_mean: Floats  # ICC(A,k) = ICC(2,k): the mean over an image's raters


@dataclass(frozen=True)
class _Sums:
    """What resampled images add up to; each entry has S first."""

    num_images: Floats
    num_ratings: Floats
    squares: Floats  # of the grades
    by_image: Floats  # reduction of the sum of squares by the images alone
    by_rater: Floats  # and by the raters alone
    raters_within_images: Floats  # what raters explain beyond images
    num_raters: Floats
    rank: Floats  # raters that can be told apart within images


def intraclass_correlations(table: GradeTable, weights_SI: Floats) -> Correlations:
    """Return the correlations; NaN without two raters on an image, or when all grades are equal."""
    sums = _sums(table, weights_SI)
    left_over = sums.num_ratings - sums.num_images - sums.rank
    with np.errstate(invalid="ignore", divide="ignore"):
        both = sums.by_image + sums.raters_within_images
        rest = np.where(left_over > 0, (sums.squares - both) / left_over, np.nan)
        rest = np.maximum(rest, 0)  # rounding alone can make it negative
        raters = (sums.raters_within_images - sums.rank * rest) / (
            sums.num_ratings - sums.num_images
        )
        freedom = sums.num_images + sums.rank - sums.num_raters
        images = (both - sums.by_rater - freedom * rest) / (sums.num_ratings - sums.num_raters)
        raters, images = np.maximum(raters, 0), np.maximum(images, 0)  # no variance is negative
        k = sums.num_ratings / sums.num_images
        return Correlations(
            agreement=images / (images + raters + rest),
            consistency=images / (images + rest),
            agreement_of_mean=images / (images + (raters + rest) / k),
        )


def _sums(table: GradeTable, weights_SI: Floats) -> _Sums:
    rated_IR = table.rated_IR.astype(float)
    grades_IR = np.where(table.rated_IR, table.grades_IR - np.nanmean(table.grades_IR), 0.0)
    num_I, sum_I = rated_IR.sum(1), grades_IR.sum(1)
    # the raters' equations with the images taken out: information C and right-hand side q
    c_IRR = rated_IR[:, :, None] * np.eye(len(table.raters)) - (
        rated_IR[:, :, None] * rated_IR[:, None, :] / num_I[:, None, None]
    )
    q_IR = grades_IR - rated_IR * (sum_I / num_I)[:, None]
    num_raters = len(table.raters)
    c_SRR = (weights_SI @ c_IRR.reshape(len(num_I), -1)).reshape(-1, num_raters, num_raters)
    q_SR = weights_SI @ q_IR
    num_SR, sum_SR = weights_SI @ rated_IR, weights_SI @ grades_IR
    seen_SR = num_SR > 0
    return _Sums(
        num_images=weights_SI.sum(1),
        num_ratings=num_SR.sum(1),
        squares=weights_SI @ (grades_IR**2).sum(1),
        by_image=weights_SI @ (sum_I**2 / num_I),
        by_rater=np.divide(sum_SR**2, num_SR, out=np.zeros_like(sum_SR), where=seen_SR).sum(1),
        raters_within_images=np.einsum("sr,srt,st->s", q_SR, np.linalg.pinv(c_SRR), q_SR),
        num_raters=seen_SR.sum(1).astype(float),
        rank=np.linalg.matrix_rank(c_SRR).astype(float),
    )
