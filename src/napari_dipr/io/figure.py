"""A figure of a result, for a talk or a notebook: amplitude, phase and fields beside each other."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_dipr.io.record import Record

SIDE = 3.2  # of a picture, inches
DPI = 200
MARGIN = 0.15  # round the support, share of its width


class Plane(NamedTuple):
    """A plane through an object.

    Attributes
    ----------
    cut
        What takes it out of an array.
    sides
        Of its pixels, rows first; nanometres, or 1 where that is not known.
    name
        Which axes it has; nothing for a 2-D object.
    """

    cut: tuple[Any, ...]
    sides: tuple[float, float]
    name: str


def write_png(record: "Record", path: Path) -> None:
    """Write the pictures, of a volume those of three planes through the middle of its support; fields beside.

    Phases and fields are shown inside the support only. Where the voxels are known there is a scale bar. The caption
    has the misfit, and the file the provenance as its description.
    """
    from matplotlib.figure import Figure

    amplitude = np.abs(record.object)
    pictures: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        "amplitude": (amplitude, {"cmap": "gray", "vmin": 0, "vmax": float(amplitude.max()) or 1.0}),
        "phase / rad": (_inside(np.angle(record.object), record), {"cmap": "twilight", "vmin": -np.pi, "vmax": np.pi}),
    }
    for name, values in record.fields.items():
        shown = _inside(values, record)
        most = float(np.abs(shown).max() or 1.0) if shown.count() else 1.0
        signed = shown.count() and shown.min() < 0
        look = {"cmap": "RdBu_r", "vmin": -most} if signed else {"cmap": "magma", "vmin": 0.0}
        pictures[name] = (shown, {**look, "vmax": most})
    planes = planes_of(record)
    figure = Figure(
        figsize=(SIDE * 1.25 * len(pictures), SIDE * len(planes) + 0.9), dpi=DPI, layout="compressed", facecolor="w"
    )
    axes = figure.subplots(len(planes), len(pictures), squeeze=False)
    extents = [_extent(plane, record.support.shape) for plane in planes]
    width = max(max(extent) for extent in extents)  # of every picture, so that all have one scale
    for column, (name, (values, look)) in zip(axes.T, pictures.items(), strict=True):
        column[0].set_title(name, parse_math=False)
        for place, plane, (high, wide) in zip(column, planes, extents, strict=True):
            drawn = place.imshow(
                values[plane.cut], extent=(-wide / 2, wide / 2, high / 2, -high / 2), interpolation="nearest", **look
            )
            place.set(xticks=[], yticks=[], xlim=(-width / 2, width / 2), ylim=(width / 2, -width / 2))
        figure.colorbar(drawn, ax=column.tolist(), shrink=0.85, aspect=25 * len(planes))
    for place, plane in zip(axes[:, 0], planes, strict=True):
        place.set_facecolor("k")
        place.text(-0.47 * width, -0.47 * width, plane.name, color="w", va="top")
        if record.voxel_size_nm is not None:
            _scale_bar(place, width)
    name = str((record.provenance.get("measurement") or {}).get("name", ""))
    figure.suptitle(name.encode(errors="replace").decode(), parse_math=False)  # as files may be called
    figure.supxlabel(caption(record), fontsize="medium")
    told = json.dumps(record.provenance, allow_nan=False)
    figure.savefig(path, format="png", metadata={"Software": "napari-dipr", "Description": told})


def colours(x: NDArray[np.complex64], limit: float) -> NDArray[np.uint8]:
    """Return an object as colours ``[*grid, 3]``: amplitude up to a limit as brightness, phase as hue (0 is red)."""
    from skimage.color import hsv2rgb

    hue = np.angle(x) / (2 * np.pi) % 1
    hsv = np.stack([hue, np.ones_like(hue), np.minimum(np.abs(x) / limit, 1)], axis=-1)
    return np.round(255 * hsv2rgb(hsv)).astype(np.uint8)


def brightest(amplitude: NDArray, inside: NDArray) -> float:
    """Return the end of an amplitude's contrast: a few bright pixels must not darken the rest."""
    limit = float(np.quantile(amplitude[inside], 0.99)) if inside.any() else 0.0
    return limit or float(amplitude.max()) or 1.0


def caption(record: "Record") -> str:
    """Return what a figure says of its result: misfit, and the support's size."""
    errors = record.provenance.get("errors") or {}
    words = [
        f"{name} {errors[key]:.3g}"
        for key, name in (("chi2", "χ²"), ("r_factor", "R"), ("free_chi2", "free χ²"))
        if errors.get(key) is not None
    ]
    size = f"support {int(record.support.sum())} {'pixels' if record.support.ndim == 2 else 'voxels'}"
    if record.voxel_size_nm is not None:
        size += f" of {' × '.join(f'{side:.3g}' for side in record.voxel_size_nm)} nm"
    return ", ".join([*words, size])


def nice_length(most: float) -> float:
    """Return the longest of 1, 2 and 5 times a power of ten that is not longer."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(power * max(step for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)))


def _inside(values: NDArray[Any], record: "Record") -> Any:
    return np.ma.masked_where(~record.support | ~np.isfinite(values), values)


def planes_of(record: "Record") -> list[Plane]:
    """Return the plane of a picture, or three through the middle of a volume's support: what is round the support."""
    grid = record.support.shape
    box, middle = [], []
    for axis, n in enumerate(grid):
        there = np.nonzero(record.support.any(tuple(a for a in range(len(grid)) if a != axis)))[0]
        low, high = (int(there[0]), int(there[-1]) + 1) if there.size else (0, n)
        space = max(2, round(MARGIN * (high - low)))
        box.append(slice(max(low - space, 0), min(high + space, n)))
        middle.append((low + high) // 2)
    sides = record.voxel_size_nm or (1.0,) * len(grid)
    if len(grid) == 2:
        return [Plane(tuple(box), (sides[0], sides[1]), "")]
    planes = []
    for normal in range(3):
        rows, columns = (axis for axis in range(3) if axis != normal)
        cut = tuple(middle[axis] if axis == normal else box[axis] for axis in range(3))
        name = f"{'zyx'[rows]}{'zyx'[columns]} plane at {'zyx'[normal]} = {middle[normal]}"
        planes.append(Plane(cut, (sides[rows], sides[columns]), name))
    return planes


def _extent(plane: Plane, grid: tuple[int, ...]) -> tuple[float, float]:
    """Return a picture's height and width."""
    counts = [len(range(*cut.indices(n))) for cut, n in zip(plane.cut, grid, strict=True) if isinstance(cut, slice)]
    return counts[0] * plane.sides[0], counts[1] * plane.sides[1]


def _scale_bar(place: Any, width: float) -> None:
    from matplotlib.patches import Rectangle

    length = nice_length(width / 3)
    left, top = -0.45 * width, 0.45 * width
    place.add_patch(Rectangle((left, top), length, 0.015 * width, color="w"))
    place.text(left + length / 2, top - 0.01 * width, f"{length:g} nm", color="w", ha="center", va="bottom")
