from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from napari_dipr.physics.fourier import forward
from napari_dipr.solvers import magnitudes
from napari_dipr.solvers.problem import Problem

Planted = tuple[Problem, Tensor, Tensor]


@pytest.fixture(scope="session")
def planted() -> Callable[..., Planted]:
    """Make a problem whose solution is known: ``(problem, truth, support)``, ``[batch, *grid]``.

    The support is a corner of the middle: a triangle or a tetrahedron, which is not its own mirror image, so that
    the twin does not fit in and the solution is unique.
    """

    def plant(grid=(24, 24), batch=1, seed=0, dtype=torch.complex64, positive=False, measured=None) -> Planted:
        generator = torch.Generator().manual_seed(seed)
        legs = torch.meshgrid(*[torch.arange(n) - n // 4 for n in grid], indexing="ij")
        inside = sum(leg * (2.2 / n) for leg, n in zip(legs, grid, strict=True)) < 1
        for leg in legs:
            inside = inside & (leg >= 0)
        truth = torch.randn(1, *grid, generator=generator, dtype=torch.complex128)
        truth = (truth.abs() + 0.1).to(truth.dtype) if positive else truth
        truth = (truth * inside).expand(batch, *grid).to(dtype)
        problem = Problem(forward(truth).abs(), measured, positive)
        return problem, truth, inside.expand(batch, *grid).contiguous()

    return plant


@pytest.fixture
def transforms(monkeypatch) -> list[str]:
    """Every Fourier transform of whole arrays that torch or oneMKL is asked for, as it is asked for."""
    calls: list[str] = []

    def counted(name):
        transform = getattr(torch.fft, name)

        def count(*args, **kwargs):
            calls.append(name)
            return transform(*args, **kwargs)

        return count

    for name in ("fftn", "ifftn", "fft2", "ifft2", "rfftn", "irfftn"):
        monkeypatch.setattr(torch.fft, name, counted(name))
    project = magnitudes.project_magnitude

    def two(problem, x):
        y = project(problem, x)
        calls.extend([] if y is None else ["there", "back"])
        return y

    monkeypatch.setattr(magnitudes, "project_magnitude", two)
    return calls
