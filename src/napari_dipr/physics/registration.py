"""Lay one reconstruction over another to fractions of a pixel: shift, twin, phase, and where asked a ramp.

:mod:`~napari_dipr.physics.symmetry` does so to whole pixels, which are all that a truth on its grid needs. Two solvers'
answers lie anywhere: a support that is a little wide lets an object move by a part of a pixel.

References
----------
.. [1] M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup, "Efficient subpixel image registration algorithms", Opt. Lett.
   33, 156 (2008).
"""

import cmath
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_dipr.physics.axes import along
from napari_dipr.physics.fourier import backward, forward
from napari_dipr.physics.symmetry import check_alike, double, highest, twin

# The place of a peak is looked for in steps of 1/4 of a pixel, then of 1/16 round the best of them, …
ZOOM, LEVELS = 4, 7
FINEST = ZOOM**-LEVELS
# Shift and ramp are found in turn, until they stay as they are: of the other one little is left after each.
TURNS = 30


@dataclass(frozen=True)
class Registration:
    """What takes a reference to another reconstruction of the same measurement.

    The other one is the reference (its twin about the grid's corner where ``twin``), shifted by ``shift`` pixels, times
    ``e^{i·phase}`` and ``e^{i·ramp·r}``, r in pixels from the grid's middle; ``correlation`` (0…1) is what they have in
    common once that is removed. The scale is the measurement's, and is left.
    """

    shift: tuple[float, ...]
    twin: bool
    phase: float
    ramp: tuple[float, ...]
    correlation: float

    def remove(self, x: Tensor) -> Tensor:
        """Undo it on ``x`` of ``[*grid]``; to whole pixels exactly where the shift is one."""
        if any(self.ramp):
            x = x * _ramp(x, [-slope for slope in self.ramp])
        x = _unshifted(x * complex(math.cos(self.phase), -math.sin(self.phase)), self.shift)
        return twin(x[None])[0] if self.twin else x

    def remove_from_support(self, support: Tensor) -> Tensor:
        """Undo it on a boolean ``[*grid]``, to whole pixels."""
        x = torch.roll(support, [-round(s) for s in self.shift], tuple(range(support.ndim)))
        return torch.roll(x.flip(tuple(range(x.ndim))), (1,) * x.ndim, tuple(range(x.ndim))) if self.twin else x


def register(x: Tensor, reference: Tensor, *, ramp: bool = False) -> Registration:
    """Find what takes a reference to ``x``, both ``[*grid]``.

    Parameters
    ----------
    x, reference
        Of one measurement. Computed in double precision.
    ramp
        Whether one may have a phase ramp that the other has not: patterns whose zero frequency is a part of a pixel
        elsewhere. Starts of one measurement cannot.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    check_alike(x, reference)
    x, a = double(x), double(reference)
    scale = float(x.norm() * a.norm())
    nothing = (0.0,) * x.ndim
    if scale == 0:
        return Registration(nothing, False, 0.0, nothing, 0.0)
    f, spectrum = (forward(y[None])[0] for y in (x, a))
    found = []
    for is_twin in (False, True):
        spectrum = spectrum.conj() if is_twin else spectrum  # the twin's is the conjugate one
        if ramp:
            shift, slopes, value = _with_ramp(x, twin(a[None])[0] if is_twin else a, spectrum)
        else:
            slopes, (shift, value) = nothing, _found(spectrum.conj() * f)
        overlap = min(abs(value) / scale, 1.0)
        found.append(Registration(shift, is_twin, cmath.phase(value), slopes, overlap))
    # An object that is its own twin has no handedness: rounding must not choose.
    straight, turned = found
    return turned if turned.correlation > straight.correlation * (1 + 1e-9) else straight


def twin_likeness(x: Tensor) -> float:
    """Return what an object ``[*grid]`` has in common with its own twin about the best of all points, 0…1.

    It is 1 of an object that is its own twin, up to its phase, and of one with its twin on it in equal parts.
    """
    f = forward(double(x)[None])[0]
    energy = float(f.abs().square().sum()) / f.numel()
    # The twin's spectrum is the conjugate one.
    return min(abs(_found(f * f)[1]) / energy, 1.0) if energy else 0.0


def _with_ramp(x: Tensor, y: Tensor, spectrum: Tensor) -> tuple[tuple[float, ...], tuple[float, ...], complex]:
    """Find shift and ramp in turn: the shift of the moduli first, which have no ramp."""
    shift, _ = _found(forward(y.abs().to(x.dtype)[None])[0].conj() * forward(x.abs().to(x.dtype)[None])[0])
    places: tuple[float, ...] = ()
    for _ in range(TURNS):
        # A ramp shifts the spectrum: its place is that of the peak of the product's transform.
        product = _unshifted(y, tuple(-s for s in shift)).conj() * x
        before, (places, _) = places, _found(torch.fft.ifftshift(product))
        slopes = tuple(-2 * math.pi * p / n for p, n in zip(places, x.shape, strict=True))
        flat = forward((x * _ramp(x, [-slope for slope in slopes]))[None])[0]
        shift, value = _found(spectrum.conj() * flat)
        if places == before:
            break
    return shift, slopes, value


def _found(cross: Tensor) -> tuple[tuple[float, ...], complex]:
    """Return where the inverse transform of ``[*grid]`` is largest, and its value there.

    First in whole pixels, then between them with eq. 5 of [1], closer and closer.
    """
    place = [float(s) for s in highest(backward(cross[None])[0])[0]]
    steps = torch.arange(-ZOOM, ZOOM + 1, dtype=torch.float64, device=cross.device)
    step, value = 1.0, 0j
    for _ in range(LEVELS):
        step /= ZOOM
        values = cross
        for p, n in zip(place, cross.shape, strict=True):
            q = torch.fft.fftfreq(n, dtype=torch.float64, device=cross.device)
            wave = torch.exp(2j * torch.pi * (p + step * steps)[:, None] * q)
            values = torch.tensordot(values, wave, ([0], [1]))  # the axes take turns: the first becomes the last
        at = int(values.abs().argmax())
        value = complex(values.flatten()[at]) / cross.numel()
        for axis in reversed(range(cross.ndim)):
            at, s = divmod(at, len(steps))
            place[axis] += float(step * steps[s])
    # What is whole to the search's precision is taken for whole: then nothing is interpolated.
    return tuple(float(round(p)) if abs(p - round(p)) <= FINEST else p for p in place), value


def _unshifted(x: Tensor, shift: tuple[float, ...]) -> Tensor:
    whole = [round(s) for s in shift]
    x = torch.roll(x, [-w for w in whole], tuple(range(x.ndim)))
    if all(s == w for s, w in zip(shift, whole, strict=True)):
        return x
    f = forward(x[None])
    for axis, (s, w) in enumerate(zip(shift, whole, strict=True)):
        q = torch.fft.fftfreq(x.shape[axis], dtype=torch.float64, device=x.device)
        f = f * along(torch.exp(2j * torch.pi * q * (s - w)), axis, x.ndim)
    return backward(f)[0]


def _ramp(x: Tensor, slopes: list[float]) -> Tensor:
    ramp = torch.ones((1,) * x.ndim, dtype=torch.complex128, device=x.device)
    for axis, (slope, n) in enumerate(zip(slopes, x.shape, strict=True)):
        r = torch.arange(n, dtype=torch.float64, device=x.device) - n // 2
        ramp = ramp * along(torch.exp(1j * slope * r), axis, x.ndim)
    return ramp
