"""Simulated complex objects, pictures and volumes: polygons, blobs, clusters and crystals with smooth phases.

Everything is drawn in batches, on the device of the generator that is given.
"""

import math

import torch
from torch import Tensor

from napari_dipr.networks.spec import Variety
from napari_dipr.physics.fourier import backward, batchwise, centre_window, forward, gaussian_blur, grid_dims

# Half-spaces that bound a polygon, at most.
FACES = 12
# Ellipsoids of a cluster, at most.
PARTS = 5


# Plain polygons and blobs, to test with.
CLEAN = Variety(extent=(0.35, 1.0), strong=0, flat=0, texture=0, soft=0, shapes=(0.5, 0.5, 0), hollow=0, fine=0)


def draw(count: int, window: tuple[int, ...], variety: Variety, generator: torch.Generator) -> Tensor:
    """Draw objects: complex64 ``[count, *window]``, amplitudes about 1; zero outside, but for fine ones' ripples."""
    fine = round(variety.fine * count)
    parts = [_draw(count - fine, window, variety, generator)] if fine < count else []
    if fine:
        finer = _draw(fine, tuple(2 * n for n in window), variety, generator)
        parts.append(_band_limited(finer, window))
    return torch.cat(parts)


def _draw(count: int, window: tuple[int, ...], variety: Variety, generator: torch.Generator) -> Tensor:
    uniform = _Uniform(count, generator)
    size = min(window) * uniform(*variety.extent)
    inside = _softened(_distance(size, window, variety, uniform), variety, uniform)
    textured = variety.texture * uniform() * (uniform() < 0.5)
    texture = _smooth(window, size * uniform(0.1, 0.5), uniform)
    amplitude = (1 + batchwise(textured, texture) * texture).clamp(0.05, 3) * inside
    # What varies by several radians must do so slowly, or a picture of this size cannot hold it.
    strong = uniform() < variety.strong
    spread = torch.where(strong, variety.phase[1] * uniform(1, 2), uniform(*variety.phase))
    spread = torch.where(uniform() < variety.flat, 0, spread)
    phase = _smooth(window, size * torch.where(strong, uniform(0.35, 0.7), uniform(0.15, 0.6)), uniform)
    return torch.polar(amplitude, batchwise(spread, phase) * phase)


def _band_limited(objects: Tensor, window: tuple[int, ...]) -> Tensor:
    """Sample objects more coarsely, keeping the spatial frequencies that the coarse grid has."""
    dims = grid_dims(objects)
    spectrum = centre_window(torch.fft.fftshift(forward(objects), dims), window)
    return backward(torch.fft.ifftshift(spectrum, dims)) * (math.prod(window) / objects[0].numel())


def clean(count: int, window: tuple[int, ...], seed: int) -> Tensor:
    """Draw plain polygons and blobs that span a third to five sixths of the window along their longest axis."""
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    while sum(len(some) for some in found) < count:
        objects = draw(64, window, CLEAN, generator)
        inside = objects != 0
        spans = [inside.movedim(d, 1).flatten(2).any(2).sum(1) for d in range(1, inside.ndim)]
        longest = torch.stack(spans).amax(0)
        found.append(objects[(longest >= min(window) / 3) & (longest <= 5 * min(window) / 6)])
    return torch.cat(found)[:count]


class _Uniform:
    """Uniform draws, one per object."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def __call__(self, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()) -> Tensor:
        drawn = torch.rand(self.count, *shape, generator=self.generator, device=self.generator.device)
        return low + (high - low) * drawn

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, generator=self.generator, device=self.generator.device)


def _distance(size: Tensor, window: tuple[int, ...], variety: Variety, uniform: _Uniform) -> Tensor:
    """Return how deep each pixel lies inside its object, ``[count, *window]`` in pixels, negative outside."""
    d, device = len(window), size.device
    axes = [torch.arange(n, device=device) - (n - 1) / 2 for n in window]
    pixels = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    turn = torch.linalg.qr(uniform.normal(d, d))[0]
    # Half the extent along each axis of the object.
    half = size[:, None] / 2 * torch.cat((torch.ones_like(size)[:, None], uniform(0.4, 1.0, (d - 1,))), 1)
    u = torch.einsum("bij,j...->bi...", turn, pixels) / half.reshape(*half.shape, *(1,) * d)
    radius = u.square().sum(1).sqrt()
    ball = 1 - radius

    normals = torch.nn.functional.normalize(uniform.normal(FACES, d), dim=2)
    # Opposite faces in pairs, as crystals have them.
    normals = torch.where(
        batchwise(uniform() < 0.5, normals), torch.cat((normals[:, ::2], -normals[:, ::2]), 1), normals
    )
    away = uniform(0.5, 1.0, (FACES,))
    away = torch.where(uniform(shape=(FACES,)) < 0.7, away, 2.0)  # beyond the ball: not a face
    faces = away.reshape(*away.shape, *(1,) * d) - torch.einsum("bki,bi...->bk...", normals, u)
    polygon = torch.minimum(faces.amin(1), ball)

    waves = _smooth(window, size * uniform(0.12, 0.3), uniform)
    blob = torch.minimum(torch.maximum(0.75 - radius + 0.35 * waves, 0.3 - radius), ball)

    centres = torch.nn.functional.normalize(uniform.normal(PARTS, d), dim=2) * uniform(0, 0.7, (PARTS, 1))
    radii = uniform(0.15, 0.45, (PARTS,)) * (uniform(shape=(PARTS,)) < 0.7)
    radii = torch.cat((torch.maximum(radii[:, :1], 0.3 + 0 * radii[:, :1]), radii[:, 1:]), 1)
    from_centres = (u[:, None] - centres.reshape(*centres.shape, *(1,) * d)).square().sum(2).sqrt()
    parts = (radii.reshape(*radii.shape, *(1,) * d) - from_centres).amax(1)

    kind = torch.multinomial(torch.tensor(variety.shapes, device=device), len(size), True, generator=uniform.generator)
    depth = torch.where(batchwise(kind == 0, blob), polygon, torch.where(batchwise(kind == 1, blob), blob, parts))
    hole = (u - (uniform(-0.3, 0.3, (d,))).reshape(len(size), d, *(1,) * d)).square().sum(1).sqrt()
    hole = hole - batchwise(uniform(0.2, 0.5), hole)
    depth = torch.where(batchwise(uniform() < variety.hollow, depth), torch.minimum(depth, hole), depth)
    # Something is left of every object.
    return torch.maximum(depth, 0.2 - radius) * batchwise(half.amin(1), depth)


def _softened(depth: Tensor, variety: Variety, uniform: _Uniform) -> Tensor:
    if not variety.soft:
        return (depth > 0).to(depth.dtype)
    width = torch.where(uniform() < 0.5, uniform(0.1, variety.soft), 0.1)
    inside = torch.sigmoid(depth / batchwise(width, depth))
    return torch.where(inside > 0.01, inside, 0)


def _smooth(window: tuple[int, ...], length: Tensor, uniform: _Uniform) -> Tensor:
    """Return Gaussian random fields ``[count, *window]`` of mean 0, standard deviation 1 and a correlation length."""
    field = gaussian_blur(uniform.normal(*window), length / 2)
    dims = grid_dims(field)
    field = field - field.mean(dims, keepdim=True)
    return field / field.std(dims, keepdim=True).clamp_min(1e-6)
