"""One film laid onto another of the same chest: shift, turn and scale, and what they are worth.

Four candidates, from two starts: as the films lie, and shifted by masked phase correlation
(Padfield 2012); each also refined to a similarity by SimpleITK. Of those that a patient on a table
could explain, the one that correlates best is taken: no film lies worse than before. Lengths are
in 1/256 of a film's longer side, with the films' middles on each other. Shapes: H x W pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from curate.errors import CurateError

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
UNITS = 256.0
COARSE = 256  # longest side that is searched on
MOST_SCALE, MOST_DEGREES, MOST_SHIFT = 1.25, 15.0, 64.0
LEAST_OVERLAP = 0.3  # of the smaller field: below it a correlation of shifts means little
DARK = 0.03  # of 0 .. 1: beyond a film's field


@dataclass(frozen=True)
class Move:
    """Where a point of the prior lies in the new film: turned and scaled about the middle."""

    scale: float = 1.0
    degrees: float = 0.0
    down: float = 0.0
    right: float = 0.0

    @property
    def is_plausible(self) -> bool:
        """Say whether a patient on a table could lie like that."""
        return (
            1 / MOST_SCALE <= self.scale <= MOST_SCALE
            and abs(self.degrees) <= MOST_DEGREES
            and max(abs(self.down), abs(self.right)) <= MOST_SHIFT
        )

    def transform(self) -> Any:
        """Return it as SimpleITK has it, from points of the prior to the new film's."""
        transform = _simple_itk().Similarity2DTransform()
        transform.SetParameters((self.scale, np.deg2rad(self.degrees), self.right, self.down))
        return transform


@dataclass(frozen=True)
class Registration:
    """The best move found."""

    move: Move
    ncc: float  # inside both fields
    ncc_before: float  # of the films as they lie
    overlap: float  # share of the prior's field that the new film covers


def field_of(image: Grey) -> Mask:
    """Return where a film shows something: not its black margins, though a lung may be black."""
    bright = ndimage.gaussian_filter(image, 0.7) > DARK
    filled = ndimage.binary_fill_holes(bright)
    labels, count = ndimage.label(filled)
    if count == 0:
        return np.ones(image.shape, bool)
    sizes = ndimage.sum_labels(filled, labels, range(1, count + 1))
    mask: Mask = labels == 1 + int(np.argmax(sizes))
    return mask


def _correlation(one: Grey, other: Grey, where: Mask) -> float:
    """Return the normalised cross-correlation inside a mask; 0 where one of them is flat."""
    if where.sum() < 16:
        return 0.0
    a, b = one[where] - one[where].mean(), other[where] - other[where].mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1e-6 else 0.0


def _masked_shift(fixed: Grey, moving: Grey, in_fixed: Mask, in_moving: Mask) -> tuple[int, int]:
    """Return (down, right) by which `moving` lies off: the shift of the best correlation.

    Each shift's correlation is computed over what both masks then share (Padfield 2012, eq. 20).
    """
    shape = [fft.next_fast_len(a + b - 1) for a, b in zip(fixed.shape, moving.shape, strict=True)]

    def spectrum(values: Any) -> Any:
        return fft.rfft2(values.astype(np.float64), shape)

    def at_shifts(of_moving: Any, of_fixed: Any) -> Any:
        """Return sums over the overlap at every shift of the fixed film."""
        return fft.irfft2(of_moving * np.conj(of_fixed), shape)

    f, m = fixed * in_fixed, moving * in_moving
    mask_f, mask_m, values_f, values_m = (spectrum(x) for x in (in_fixed, in_moving, f, m))
    count = np.maximum(at_shifts(mask_m, mask_f), 1e-9)
    sum_f, sum_m = at_shifts(mask_m, values_f), at_shifts(values_m, mask_f)
    together = at_shifts(values_m, values_f) - sum_f * sum_m / count
    spread_f = np.maximum(at_shifts(mask_m, spectrum(f * f)) - sum_f**2 / count, 0)
    spread_m = np.maximum(at_shifts(spectrum(m * m), mask_f) - sum_m**2 / count, 0)
    spread = np.sqrt(spread_f * spread_m)
    enough = count >= LEAST_OVERLAP * min(in_fixed.sum(), in_moving.sum())
    score = np.where(enough & (spread > 1e-6), together / np.maximum(spread, 1e-6), -1)
    down, right = np.unravel_index(int(np.argmax(score)), score.shape)
    rows, columns = shape
    return (
        int(down) - (rows if down > rows // 2 else 0),
        int(right) - (columns if right > columns // 2 else 0),
    )


def register(prior: Grey, new: Grey) -> Registration:
    """Return how the new film lies on the prior: the best of four plausible moves."""
    fixed, moving = film_image(prior, COARSE), film_image(new, COARSE)
    field = field_of(fixed.values)
    as_it_lies, covered = moving.laid(fixed, Move())
    down, right = _masked_shift(fixed.values, as_it_lies, field, covered)
    starts = [Move(), Move(down=down * fixed.spacing, right=right * fixed.spacing)]
    found = []
    for move in (*starts, *(fixed.refined(moving, start) for start in starts)):
        if not move.is_plausible and move is not starts[0]:
            continue
        film, covered = moving.laid(fixed, move)
        both = field & covered
        overlap = float(both.sum() / max(1, field.sum()))
        found.append(Registration(move, _correlation(fixed.values, film, both), 0.0, overlap))
    best = max(found, key=lambda one: one.ncc)
    return Registration(best.move, best.ncc, found[0].ncc, best.overlap)


@dataclass(frozen=True)
class FilmImage:
    """A film in SimpleITK's hands: its middle at 0, its pixels `spacing` units apart."""

    image: Any
    values: Grey
    spacing: float

    def laid(self, prior: "FilmImage", move: Move) -> tuple[Grey, Mask]:
        """Return the new film on the prior's pixels, and where its field then is."""
        sitk, transform = _simple_itk(), move.transform()
        field = sitk.GetImageFromArray(field_of(self.values).astype(np.float32))
        field.CopyInformation(self.image)
        film, covered = (
            sitk.GetArrayFromImage(sitk.Resample(image, prior.image, transform, kind, 0.0))
            for image, kind in ((self.image, sitk.sitkLinear), (field, sitk.sitkLinear))
        )
        return film, covered > 0.99

    def refined(self, new: "FilmImage", start: Move) -> Move:
        """Return what SimpleITK finds from a start; where it finds nothing, the start."""
        sitk = _simple_itk()
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)  # one sum, one order: equal films, equal moves
        method.SetMetricAsCorrelation()
        for film, set_mask in (
            (self, method.SetMetricFixedMask),
            (new, method.SetMetricMovingMask),
        ):
            mask = sitk.GetImageFromArray(field_of(film.values).astype(np.uint8))
            mask.CopyInformation(film.image)
            set_mask(mask)
        method.SetInterpolator(sitk.sitkLinear)
        shrinks = [4, 2] if min(self.values.shape) >= 128 else [1]
        method.SetShrinkFactorsPerLevel(shrinks)
        method.SetSmoothingSigmasPerLevel([shrink / 2 for shrink in shrinks])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=4.0, minStep=0.01, numberOfIterations=80, relaxationFactor=0.6
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(start.transform(), inPlace=False)
        try:
            found = method.Execute(self.image, new.image)
        except RuntimeError:  # nothing of the two fields lies on the other
            return start
        scale, angle, right, down = found.GetParameters()
        return Move(scale, float(np.rad2deg(angle)), down, right)


def film_image(film: Grey, longest: int | None = None) -> FilmImage:
    """Return a film, shrunk to at most `longest` pixels on its longer side."""
    factor = 1.0 if longest is None else min(1.0, longest / max(film.shape))
    if factor < 1:
        smooth = ndimage.gaussian_filter(film, 0.4 / factor)
        film = ndimage.zoom(smooth, factor, order=1, grid_mode=True, mode="nearest")
    image = _simple_itk().GetImageFromArray(np.ascontiguousarray(film, np.float32))
    spacing = UNITS / max(film.shape)
    image.SetSpacing((spacing, spacing))
    image.SetOrigin([-spacing * (side - 1) / 2 for side in reversed(film.shape)])
    return FilmImage(image, film.astype(np.float32), spacing)


def _simple_itk() -> Any:
    """Return SimpleITK. Raises CurateError where it is not installed."""
    try:
        import SimpleITK as sitk
    except ModuleNotFoundError as error:
        raise CurateError(
            "Registration needs SimpleITK: pip install 'curate-images[journeys]'. "
            "Or keep pairs unregistered: --no-register."
        ) from error
    return sitk
