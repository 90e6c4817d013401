"""Losses that train a network, one value per sample."""

from torch import Tensor

from napari_dipr.physics.fourier import forward
from napari_dipr.physics.metrics import chi2


def passive(objects: Tensor, intensities: Tensor) -> Tensor:
    """Passive loss on amplitudes: ``Σ(|F g(Y)| − √Y)²/ΣY``, per sample.

    Eq. 2.1 of the paper with ℓ the squared difference of amplitudes, relative to the measured energy. No truth is
    looked at: shift and twin are for the network to settle.

    Parameters
    ----------
    objects
        The network's output on the measurement's grid, ``[batch, *grid]``.
    intensities
        The measurement Y it was given, of the same shape, zero frequency at the corner.

    References
    ----------
    .. [1] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop, eq. 2.1.
    """
    return chi2(forward(objects), intensities.sqrt())
