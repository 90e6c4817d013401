"""Losses that train a network: each takes objects and intensities, and gives one value per sample.

The passive losses are eq. 2.1 of the paper, Σ ℓ(Y, |F g(Y)|²), with different ℓ, which it leaves open. Both compare
amplitudes, relative to the measured ones. No truth is looked at: shift and twin are for the network to settle.

References
----------
.. [1] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop, eq. 2.1.
"""

from torch import Tensor

from napari_dipr.physics.fourier import forward
from napari_dipr.physics.metrics import chi2, r_factor


def passive_squared(objects: Tensor, intensities: Tensor) -> Tensor:
    """Return χ² = ``Σ(|F g(Y)| − √Y)²/ΣY`` for objects and cornered intensities ``[batch, *grid]``."""
    return chi2(forward(objects), intensities.sqrt())


def passive_absolute(objects: Tensor, intensities: Tensor) -> Tensor:
    """Return the R-factor ``Σ||F g(Y)| − √Y|/Σ√Y`` for objects and cornered intensities ``[batch, *grid]``.

    A network that minimises the squares fills the faint high frequencies, whose phases it cannot tell, with one bright
    pixel; absolute differences make that less worth while.
    """
    return r_factor(forward(objects), intensities.sqrt())


LOSSES = {"passive-squared": passive_squared, "passive-absolute": passive_absolute}
