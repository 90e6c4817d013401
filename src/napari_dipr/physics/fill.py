"""What stands in for unmeasured pixels where a transform needs a value everywhere."""

import torch
from torch import Tensor

from napari_dipr.physics.fourier import gaussian_blur, mirrored

# Widths of the smooth fill, pixels, tried in turn; and how much weight of measured pixels each needs.
WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
ENOUGH = 0.05


def fill_unmeasured(intensities: Tensor, measured: Tensor | None) -> Tensor:
    """Fill unmeasured pixels: with their Friedel mate, or else smoothly from what lies around.

    The mate at −q is right for real objects and close for weakly phased ones. Where it was not measured either, the
    square roots of the intensities are averaged with the narrowest Gaussian that reaches measured pixels.

    Parameters
    ----------
    intensities
        ``[batch, *grid]``, cornered; unmeasured values do not count.
    measured
        Boolean, broadcastable to them; None where all are measured.

    Returns
    -------
    Tensor
        ``[batch, *grid]``; measured pixels as they were. What is out of every width's reach is 0.
    """
    if measured is None:
        return intensities
    measured = measured.expand(intensities.shape)
    amplitudes = torch.where(measured, intensities, 0).sqrt()
    known = measured | mirrored(measured)
    amplitudes = torch.where(measured, amplitudes, mirrored(amplitudes))
    for width in WIDTHS:
        if bool(known.all()):
            break
        weight = gaussian_blur(known.to(amplitudes.dtype), width)
        smooth = gaussian_blur(amplitudes, width) / weight.clamp_min(ENOUGH)
        reached = weight > ENOUGH
        amplitudes = torch.where(~known & reached, smooth.clamp_min(0), amplitudes)
        known = known | reached
    return torch.where(measured, intensities, amplitudes.square())
