"""How far a model carries: objects that no training drew, patterns of any size, few photons, a missing centre.

The objects are silhouettes of FashionMNIST images, letters from fonts and slices of a simulated vesicle, with phases
that are sums of plane waves: nothing that :mod:`napari_dipr.training.simulated` draws. They fill their box, which is
the grid divided by the oversampling. The curves are of the *clean* objects of ``benchmark models``.
"""

import os
import string
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.transform import resize

from napari_dipr import samples
from napari_dipr.benchmarks.models import test_batch, true_support
from napari_dipr.benchmarks.score import Outcome, score
from napari_dipr.device import find_device
from napari_dipr.errors import DiprError, ModelError
from napari_dipr.measurement import Measurement
from napari_dipr.networks.propose import answer_to, propose, support_of
from napari_dipr.networks.spec import Flaws
from napari_dipr.networks.zoo import describe_model, load_model
from napari_dipr.physics.fourier import embed_window
from napari_dipr.training import simulated
from napari_dipr.training.losses import Batch
from napari_dipr.training.patterns import flawed, measure

MODEL = "unrolled-objects-2d"
SEED = 2023
# Names the folder with vesicle/vesicle.mrc, a simulated vesicle of 64³ voxels.
DATA = "NAPARI_DIPR_DATA"
FONTS = ("DejaVu Sans", "DejaVu Serif", "STIXGeneral")
PHOTONS = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
# Of the missing centre, in pixels of a grid of 72².
WIDTHS = (0, 1, 3, 5, 7, 9, 11, 15, 19)
# Of the missing centre on larger grids, in their own pixels: grids with the windows that clean objects are drawn in.
GRIDS = (((72, 72), (36, 36)), ((144, 144), (72, 72)), ((216, 216), (72, 72)))
GRID_WIDTHS = (0, 3, 5, 7)
DRAWN = 2021


@dataclass(frozen=True)
class Case:
    """Patterns of a size, and the share of it that their objects span."""

    grid: tuple[int, int]
    oversampling: float = 3.0

    @property
    def box(self) -> tuple[int, int]:
        """Pixels that the objects span."""
        height, width = (round(n / self.oversampling) for n in self.grid)
        return height, width


CASES = (
    *(Case((n, n)) for n in (64, 128, 256, 512, 1024, 2048)),
    Case((128, 256)),
    Case((512, 256)),
    *(Case((256, 256), oversampling) for oversampling in (2.0, 2.5, 4.0, 6.0)),
)


def generality(
    objects: int = 24,
    model: str = MODEL,
    *,
    device: str = "auto",
    cases: tuple[Case, ...] | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
    """Test a model for pictures beyond what it was trained with.

    Parameters
    ----------
    objects
        How many of each kind in each case; a quarter where a side has 1024 pixels and more.
    model
        The model's name; it must be one for simulated pictures.
    device
        ``auto``, ``cuda``, ``mps`` or ``cpu``.
    cases
        Sizes and oversamplings; None for :data:`CASES`.
    progress
        Told what is worked on, how many rows are done, and how many there will be.

    Returns
    -------
    dict
        ``{"model", "cases": [{"kind", "grid", "oversampling", …}], "photons": [{"photons", …}], "missing_centre":
        [{"width", …}], "missing_centre_grids": [{"grid", "window", "width", …}]}``; each with ``objects``,
        ``nmse_mean`` and ``support_iou`` of the proposals, cases with ``ms_per_proposal`` too. The vesicle is left out
        where ``NAPARI_DIPR_DATA`` does not say where it is.

    Raises
    ------
    DiprError
        If there is no such model or device, or the model is for other data.
    """
    spec = describe_model(model)
    if spec.training.objects != "simulated" or len(spec.network.grid) != 2:
        raise ModelError(f"{model} is not for any picture; take one that is, {MODEL} for example.")
    if objects > len(samples.shipped_images()):
        raise DiprError(f"{objects} silhouettes were asked for; there are {len(samples.shipped_images())} images.")
    where = find_device(device)
    clean = test_batch(spec, 4 * objects, "clean", where)
    answer_to(spec, load_model(model, str(where)), clean.intensities[:1])  # nothing of it is in a proposal's time
    kinds: dict[str, Shapes] = {"silhouettes": silhouettes, "letters": letters}
    if (path := Path(os.environ.get(DATA, ".")) / "vesicle" / "vesicle.mrc").is_file():
        kinds["vesicle"] = partial(vesicle_slices, path)
    cases = CASES if cases is None else cases
    rows: list[dict[str, Any]] = []
    photons: list[dict[str, Any]] = []
    widths: list[dict[str, Any]] = []
    grids: list[dict[str, Any]] = []

    def tell(what: str) -> None:
        total = len(cases) * len(kinds) + len(PHOTONS) + 1 + len(WIDTHS) + len(GRIDS) * len(GRID_WIDTHS)
        progress(what, len(rows) + len(photons) + len(widths) + len(grids), total)

    for case in cases:
        for kind, shapes in kinds.items():
            tell(f"{kind}, {' × '.join(map(str, case.grid))}, oversampling {case.oversampling:g}")
            rows.append({"kind": kind, **_case(model, case, shapes, objects, device)})
    for count in (*PHOTONS, None):
        tell("no noise" if count is None else f"{count:g} photons")
        flaws = Flaws(noisy=float(count is not None), photons=(count or 100, count or 100), hidden=0, dead=0)
        photons.append({"photons": count, **_point(model, clean, flaws)})
    for width in WIDTHS:
        tell(f"missing centre, {width} px")
        widths.append({"width": width, **_point(model, clean, _centreless(width))})
    for grid, window in GRIDS:
        drawn = measure(simulated.clean(objects, window, DRAWN).to(where), grid)
        for width in GRID_WIDTHS:
            tell(f"missing centre, {width} px of {' × '.join(map(str, grid))}")
            point = _point(model, drawn, _centreless(width), window)
            grids.append({"grid": list(grid), "window": list(window), "width": width, **point})
    curves = {"photons": photons, "missing_centre": widths, "missing_centre_grids": grids}
    return {"model": model, "cases": rows, **curves}


# Draws shapes [count, *box], 0…1, that fill their box.
Shapes = Callable[[int, tuple[int, int], np.random.Generator], NDArray[np.float64]]


def silhouettes(count: int, box: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw where FashionMNIST test images are above a tenth of white."""
    chosen = rng.choice(samples.shipped_images(), count, replace=False)
    return np.stack([_filling(image > 25, box) > 0.5 for image in chosen]).astype(float)


def letters(count: int, box: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw capital letters in three bold fonts."""
    from matplotlib.font_manager import FontProperties, findfont
    from PIL import Image, ImageDraw, ImageFont

    found = []
    for _ in range(count):
        path = findfont(FontProperties(family=str(rng.choice(FONTS)), weight="bold"))
        page = Image.new("L", (400, 400))
        letter = str(rng.choice(list(string.ascii_uppercase)))
        ImageDraw.Draw(page).text((80, 40), letter, fill=255, font=ImageFont.truetype(path, 240))
        found.append(_filling(np.asarray(page) > 127, box) > 0.5)
    return np.stack(found).astype(float)


def vesicle_slices(path: Path, count: int, box: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw slices across the vesicle of an MRC file, its densities as amplitudes."""
    import mrcfile

    # Permissive, and without a word about it: the file has no machine stamp.
    with warnings.catch_warnings(action="ignore"), mrcfile.open(path, permissive=True) as file:
        volume = np.asarray(file.data, float)
    slices = []
    for _ in range(count):
        axis = int(rng.integers(3))
        middle = volume.shape[axis] // 2
        slices.append(_filling(np.take(volume, middle + int(rng.integers(-12, 13)), axis), box))
    return np.stack([each / each.max() for each in slices])


def with_phases(shapes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex128]:
    """Give shapes ``[count, *box]`` phases: four plane waves of up to 1.5 periods, 0…1.5 rad standard deviation."""
    rows, columns = np.meshgrid(*(np.linspace(0, 1, n) for n in shapes.shape[1:]), indexing="ij")
    objects = []
    for shape in shapes:
        waves = rng.uniform(-1.5, 1.5, (4, 2))
        field = sum(np.cos(2 * np.pi * (u * rows + v * columns + rng.uniform())) for u, v in waves)
        spread = field[shape > 0].std()
        objects.append(shape * np.exp(1j * rng.uniform(0, 1.5) * field / max(spread, 1e-6)))
    return np.stack(objects)


def _filling(image: NDArray[Any], box: tuple[int, int]) -> NDArray[np.float64]:
    """Crop an image to what is not 0, and bring that to the size of the box."""
    rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
    cropped = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)
    resized: NDArray[np.float64] = resize(cropped, box, order=1, anti_aliasing=True)
    return resized


def _case(model: str, case: Case, shapes: Shapes, objects: int, device: str) -> dict[str, Any]:
    count = max(1, objects // 4) if max(case.grid) >= 1024 else objects
    rng = np.random.default_rng(SEED)
    drawn = with_phases(shapes(count, case.box, rng), rng)
    window = embed_window(torch.ones(case.box, dtype=torch.bool), case.grid)
    scores, seconds = [], 0.0
    for each in drawn:
        batch = measure(torch.from_numpy(each)[None], case.grid)
        intensities = torch.fft.fftshift(batch.intensities[0]).numpy()
        measurement = Measurement.of(intensities, zero_frequency="centre", name="simulated")
        began = time.perf_counter()
        proposal = propose(measurement, model, device=device)
        seconds += time.perf_counter() - began
        found, support = (torch.from_numpy(array)[None] for array in (proposal.object, proposal.support))
        inside = true_support(batch.truth)
        scores.append(score([Outcome(found, support, ffts=0)], batch.truth, window, inside))
    return {
        "grid": list(case.grid),
        "oversampling": case.oversampling,
        "objects": count,
        **{key: float(np.mean([each[key] for each in scores])) for key in ("nmse_mean", "support_iou")},
        "ms_per_proposal": 1e3 * seconds / count,
    }


def _centreless(width: float) -> Flaws:
    return Flaws(noisy=0, hidden=1, radius=(width / 2, width / 2), dead=0)


def _point(model: str, clean: Batch, flaws: Flaws, window: tuple[int, ...] | None = None) -> dict[str, Any]:
    spec, device = describe_model(model), clean.truth.device
    batch = flawed(clean, flaws, torch.Generator(device).manual_seed(SEED))
    answer = answer_to(spec, load_model(model, str(device)), batch.intensities, batch.measured)
    support = support_of(answer.objects, spec.proposal, coarseness=answer.coarseness)
    within = embed_window(torch.ones(window or spec.network.window, dtype=torch.bool), tuple(clean.truth.shape[1:]))
    scores = score([Outcome(answer.objects.cpu(), support.cpu(), ffts=0)], clean.truth.cpu(), within)
    return {"objects": len(clean.truth), **{key: scores[key] for key in ("nmse_mean", "support_iou")}}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the curves of :func:`generality` as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    counted = [row for row in result["photons"] if row["photons"] is not None]
    for key, label in (("support_iou", "IoU of the support"), ("nmse_mean", "nmse")):
        line = left.semilogx([row["photons"] for row in counted], [row[key] for row in counted], "o-", label=label)
        left.axhline(result["photons"][-1][key], ls=":", color=line[0].get_color())
        right.plot(
            [row["width"] for row in result["missing_centre"]], [row[key] for row in result["missing_centre"]], "o-"
        )
    left.set(xlabel="photons in the pattern (dotted: no noise)", ylim=(0, 1))
    right.set(xlabel="width of the missing centre, pixels of a 72² grid")
    left.legend()
    figure.suptitle(f"{result['model']}, {result['photons'][0]['objects']} clean objects", fontsize=10)
    figure.savefig(path, dpi=100)
