"""What no intensity can tell: shift, twin and global phase. Find them, name them, take them out.

``|F(x)|²`` is the same for ``x``, for any circular shift of it, for its twin ``conj(x(−r))`` and for ``x·e^{iθ}``.
Two reconstructions may be compared only after these are removed. The scale is a property of the data, but the paper's
error (A.1) removes it too.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_dipr.physics.fourier import backward, batchwise, forward, grid_dims, mirrored


def twin(x: Tensor) -> Tensor:
    """Return the twin ``conj(x(−r))`` of ``[batch, *grid]``, about the grid's corner."""
    return mirrored(x).conj().resolve_conj()


def nmse(estimate: Tensor, truth: Tensor, window: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Symmetry-adjusted error of each sample, relative to the truth's energy.

    The minimum over circular shifts, the twin, a global phase and a scale ≥ 0 of ``‖A − ηBe^{iθ}‖²/‖A‖²``: 0 is
    exact, 1 means nothing in common. Computed in float64.

    Parameters
    ----------
    estimate, truth
        Objects ``[batch, *grid]``; the truth is zero outside ``window``.
    window
        Boolean ``[*grid]``: where the two are compared. None compares them everywhere.

    Returns
    -------
    nmse, nmse_full : tuple of Tensor
        ``[batch]`` each. The first charges what the estimate has inside the window only, the second all of it.

    Notes
    -----
    At a fixed shift the best ηe^{iθ} leaves ``1 − |⟨A,B⟩|²/(‖A‖²‖B‖²)`` (eq. A.4 of the paper misses the square). A
    window with next to no energy would blow the quotient up: its energy counts as at least 1e-3 of the whole.

    References
    ----------
    .. [1] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop, eq. A.1–A.4.
    """
    a, b = double(truth), double(estimate)
    dims = grid_dims(a)
    energy_a, energy_b = a.abs().square().sum(dims), b.abs().square().sum(dims)
    fa, fb = forward(a), forward(b)
    if window is None:
        window = torch.ones(a.shape[1:], dtype=torch.bool, device=a.device)
    fw = forward(double(window[None]))
    fp = forward(double(b.abs().square()))
    best, best_full = torch.ones_like(energy_a), torch.ones_like(energy_a)
    for spectrum, power in ((fb, fp), (fb.conj(), fp.conj())):  # the twin's spectrum is the conjugate one
        overlap = backward(fa.conj() * spectrum).abs().square()
        inside = backward(fw.conj() * power).real
        inside = torch.maximum(inside, batchwise(1e-3 * energy_b, inside))
        scale = batchwise(energy_a, inside)
        best = torch.minimum(best, (1 - overlap / (scale * inside).clamp_min(1e-300)).amin(dims))
        full = scale * batchwise(energy_b, inside)
        best_full = torch.minimum(best_full, (1 - overlap / full.clamp_min(1e-300)).amin(dims))
    return best.clamp_min(0), best_full.clamp_min(0)


@dataclass(frozen=True)
class Alignment:
    """The symmetries that take a reference to another reconstruction of the same measurement.

    The other one is ``scale·e^{i·phase}`` times the reference (its twin where ``twin``), shifted by ``shift`` pixels;
    ``correlation`` (0…1) is what they have in common once that is removed.
    """

    shift: tuple[int, ...]
    twin: bool
    phase: float
    scale: float
    correlation: float

    def remove(self, x: Tensor) -> Tensor:
        """Undo the symmetries on ``x`` of ``[*grid]`` (the scale too)."""
        x = torch.roll(x, [-s for s in self.shift], tuple(range(x.ndim)))
        x = x * (complex(math.cos(self.phase), -math.sin(self.phase)) / (self.scale or 1.0))
        return twin(x[None])[0] if self.twin else x

    def __str__(self) -> str:
        """Say in words what was found."""
        words = [f"shifted by ({', '.join(str(s) for s in self.shift)})"] if any(self.shift) else []
        words += ["twin"] if self.twin else []
        words += [f"phase {self.phase:+.2f} rad"] if abs(self.phase) >= 0.005 else []
        words += [f"scale {self.scale:.3g}"] if abs(self.scale - 1) >= 0.005 else []
        return ", ".join(words) or "nothing to remove"


def check_alike(x: Tensor, reference: Tensor) -> None:
    """Refuse to align arrays of different shapes; raises ValueError."""
    if x.shape != reference.shape:
        raise ValueError(f"Cannot align arrays of different shapes: {tuple(x.shape)} and {tuple(reference.shape)}.")


def highest(overlap: Tensor) -> tuple[tuple[int, ...], complex]:
    """Return the shift at which a circular correlation ``[*grid]`` is largest, −n/2 to n/2 by axis, and its value."""
    at = int(overlap.abs().argmax())
    value = complex(overlap.flatten()[at])
    shift: list[int] = []
    for n in reversed(overlap.shape):
        at, s = divmod(at, n)
        shift.insert(0, s - n if s > n // 2 else s)
    return tuple(shift), value


def find_alignment(x: Tensor, reference: Tensor) -> Alignment:
    """Find shift, twin, phase and scale of ``x`` against ``reference``, both ``[*grid]``, to whole pixels.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    check_alike(x, reference)
    a, b = double(reference)[None], double(x)[None]
    fa, fb = forward(a), forward(b)
    candidates = []
    for is_twin, spectrum in ((False, fa), (True, fa.conj())):
        shift, value = highest(backward(spectrum.conj() * fb)[0])
        candidates.append((abs(value), is_twin, shift, value))
    # An object that is its own twin has no handedness: rounding must not choose.
    straight, turned = candidates
    size, is_twin, shift, value = turned if turned[0] > straight[0] * (1 + 1e-9) else straight
    energy_a, energy_b = float(a.abs().square().sum()), float(b.abs().square().sum())
    return Alignment(
        shift=shift,
        twin=is_twin,
        phase=math.atan2(value.imag, value.real),
        scale=size / energy_a if energy_a else 0.0,
        correlation=min(size / math.sqrt(energy_a * energy_b), 1.0) if energy_a * energy_b else 0.0,
    )


def double(x: Tensor) -> Tensor:
    """Return an array as complex128."""
    # Apple's devices (mps) have no float64: there the comparison is made on the CPU.
    return (x.cpu() if x.device.type == "mps" else x).to(torch.complex128)
