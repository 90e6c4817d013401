"""The benchmarks' figures as tables within 80 columns."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


def show_recipes(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.recipes.compare`."""
    table = table_of(
        f"Recipes from the autocorrelation's support, seed {result['seed']}",
        "nmse: symmetry-adjusted error relative to the object's energy, mean and median; solved: share of "
        "objects below .01; size: the support's pixels over the true one's; FFTs per object.",
        ("recipe",),
        ("nmse", "median", "solved", "χ²", "size", "iter.", "FFTs"),
        folds=True,
    )
    before = None
    for row in result["rows"]:
        if row["set"] != before:
            table.add_section()
            table.add_row(Text(f"{row['set']} ({row['objects']})", style="bold"))
        before = row["set"]
        table.add_row(
            Text(row["recipe"].replace(" ", "")),
            *(text_of(row[key], ".3f") for key in ("nmse_mean", "nmse_median")),
            text_of(row["solved"], ".0%"),
            text_of(row["chi2"], ".1e"),
            text_of(row["size"], ".2f"),
            *(text_of(row[key], ".0f") for key in ("iterations", "ffts")),
        )
    console = Console()
    console.print(table)
    for row in result["rows"]:
        for why, count in row["ended"].items():
            told = f"{row['set']}, {row['recipe']}: {why} ({count}×)"
            console.print(told, style="dim", markup=False, highlight=False)


def show_models(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.models.models`."""
    table = table_of(
        f"Models on {result['objects']} {result['kind']} test objects",
        "nmse: symmetry-adjusted error relative to the object's energy, of the proposal, after HIO 150 + "
        "shrink-wrap + ER 30 from it, and after the same from the exact support; solved: share below .01; IoU: of the "
        "proposed support with the true one; ms: per proposal.",
        ("model",),
        ("nmse", "median", "IoU", "refined", "solved", "exact", "solved", "ms"),
    )
    for name, row in result["models"].items():
        table.add_row(
            name,
            *(text_of(row[key], ".3f") for key in ("nmse_mean", "nmse_median", "support_iou", "refined_nmse_mean")),
            text_of(row["refined_solved"], ".0%"),
            text_of(row["exact_support_nmse_mean"], ".3f"),
            text_of(row["exact_support_solved"], ".0%"),
            text_of(row["ms_per_proposal"], ".0f"),
        )
    Console().print(table)


def show_engine(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.engine.engine`."""
    table = table_of(
        f"An iteration beside its two transforms, {result['cases'][0]['dtype']}, threads: {result['threads']}",
        "×: an iteration to the transforms (into tensors that are there, and into new ones); /complex: to one "
        "with a complex object; B: bytes per pixel at the peak. HIO's time grows as (N log N) to the power of "
        f"{text_of(result['growth_exponent'], '.2f')}.",
        ("size", "algorithm"),
        ("ms", "FFTs", "×", "new", "×", "/complex", "B"),
    )
    for case in result["cases"]:
        table.add_row(
            case["name"],
            case["algorithm"] + (", real" if case["real"] else ""),
            *(text_of(case[key], ".2f") for key in ("iteration_ms", "fft_pair_ms", "ratio")),
            *(text_of(case[key], ".2f") for key in ("new_fft_pair_ms", "new_ratio")),
            text_of(case.get("real_over_complex"), ".2f"),
            text_of(case["peak_bytes_per_voxel"], ".0f"),
        )
    Console().print(table)


def show_peers(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.peers.peers`."""
    from napari_dipr.benchmarks.peers import SAME  # with it comes torch

    names = list(result["cases"][0]["peers"])
    table = table_of(
        f"One iteration of HIO in ms, {result['cases'][0]['dtype']}, threads: {result['threads']}",
        "×: the fastest peer's time to ours, the median over rounds. – is a peer that did not take part.",
        ("size",),
        ("ours", *names, "fastest", "×"),
    )
    for case in result["cases"]:
        table.add_row(
            case["name"],
            text_of(case["ours_ms"], ".2f"),
            *(text_of(case["peers"][name]["iteration_ms"], ".2f") for name in names),
            case["fastest_peer"] or "–",
            text_of(case["speedup"], ".2f"),
        )
    console = Console()
    console.print(table)
    for case in result["cases"]:
        if case["ours_difference"] > SAME:
            console.print(f"ours: wrong at {case['name']}, by {case['ours_difference']:.1e}", style="red", markup=False)
    for name in names:
        absent: dict[str, list[str]] = {}
        for case in result["cases"]:
            if reason := case["peers"][name].get("reason"):
                absent.setdefault(reason, []).append(case["name"])
        for reason, sizes in absent.items():
            console.print(f"{name}: {reason} ({', '.join(sizes)})", style="dim", markup=False)


def show_table1(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.table1.table1`."""
    table = table_of(
        f"FashionMNIST 36² in 72², {result['images']} test images",
        "nmse: symmetry-adjusted error relative to the object's energy (0 exact, 1 nothing in common); "
        "solved: share of images below .01; IoU: of the support with the true one; FFTs and ms per image; +: told that "
        f"objects are real and not negative; multistart: the best of {result['starts']} by its residual. The paper "
        "does not say how its error is normalised: its column is comparable only if it is relative too.",
        ("method",),
        ("nmse", "median", "solved", "IoU", "FFTs", "ms", "paper"),
    )
    for name, row in result["rows"].items():
        table.add_row(
            f"{name} +" if row["positive"] else name,
            *(text_of(row[key], ".3f") for key in ("nmse_mean", "nmse_median")),
            text_of(row["solved"], ".0%"),
            text_of(row["support_iou"], ".2f"),
            text_of(row["ffts_per_image"], "d"),
            text_of(row["ms_per_image"], ".0f"),
            text_of(row["paper"], ".3f"),
        )
    Console().print(table)


def show_robustness(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.robustness.robustness`."""
    photons = [
        "∞" if row["photons"] is None else f"{row['photons']:.0e}".replace("+0", "") for row in result["photons"]
    ]
    widths = [str(row["width"]) for row in result["missing_centre"]]
    for points, headings, title in (
        (result["photons"], photons, "photons in a pattern"),
        (result["missing_centre"], widths, "pixels of a missing centre's width"),
    ):
        table = table_of(f"nmse by {title}, {result['images']} test images", "", ("method",), headings)
        for name in points[0]["rows"]:
            table.add_row(name, *(text_of(row["rows"][name]["nmse_mean"], ".3f") for row in points))
        Console().print(table)


def show_generality(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.generality.generality`."""
    table = table_of(
        f"{result['model']} on objects of other kinds",
        "nmse: symmetry-adjusted error of the proposal relative to the object's energy; IoU: of its support with the "
        "true one; ms: per proposal.",
        ("objects",),
        ("number", "grid", "oversampling", "nmse", "IoU", "ms"),
    )
    for row in result["cases"]:
        table.add_row(
            row["kind"],
            str(row["objects"]),
            " × ".join(map(str, row["grid"])),
            f"{row['oversampling']:g}",
            *(text_of(row[key], ".3f") for key in ("nmse_mean", "support_iou")),
            text_of(row["ms_per_proposal"], ".0f"),
        )
    console = Console()
    console.print(table)
    for key, title, heading in (
        ("photons", "Photon noise", "photons"),
        ("missing_centre", "A missing centre", "width"),
    ):
        table = table_of(f"{title}, {result[key][0]['objects']} clean objects", "", (heading,), ("nmse", "IoU"))
        for row in result[key]:
            known = "no noise" if row[heading] is None else f"{row[heading]:g}"
            table.add_row(known, *(text_of(row[figure], ".3f") for figure in ("nmse_mean", "support_iou")))
        console.print(table)
    points = result["missing_centre_grids"]
    widths = list(dict.fromkeys(row["width"] for row in points))
    title = f"nmse by pixels of a missing centre's width, {points[0]['objects']} clean objects"
    table = table_of(title, "", ("grid", "window"), tuple(map(str, widths)))
    for grid, window in dict.fromkeys((tuple(row["grid"]), tuple(row["window"])) for row in points):
        of_grid = [row for row in points if (tuple(row["grid"]), tuple(row["window"])) == (grid, window)]
        names = (" × ".join(map(str, sides)) for sides in (grid, window))
        table.add_row(*names, *(text_of(row["nmse_mean"], ".3f") for row in of_grid))
    console.print(table)


def show_bragg(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.bragg.table`."""
    side = " × ".join(map(str, result["grid"]))
    table = table_of(
        f"A strained crystal from simulated rocking scans of {side}, the best of {result['starts']} starts",
        "u: displacement along Q, pm; ε: strain along Q, 10⁻⁶: error and the crystal's own, rms, less the mean and the "
        "mean slope of u, which no intensity tells; vol. and radius: relative errors of volume and rms radius. "
        "The support is known without noise, and found by shrink-wrap with it. alike: of the complex objects.",
        ("scan",),
        ("photons", "χ²", "alike", "u error", "rms", "ε error", "rms", "vol.", "radius"),
    )
    for row in result["rows"]:
        table.add_row(
            row["scan"],
            "∞" if row["photons"] is None else f"{row['photons']:.0e}".replace("+0", ""),
            text_of(row["chi2"], ".0e"),
            text_of(row["correlation"], ".3f"),
            *(text_of(row[key] * 1e3, ".2f") for key in ("displacement_error", "displacement_rms")),
            *(text_of(row[key] * 1e6, ".1f") for key in ("strain_error", "strain_rms")),
            *(text_of(row[key], "+.1%") for key in ("volume_error", "radius_error")),
        )
    Console().print(table)


def show_ablation(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.ablation.ablation`."""
    table = table_of(
        f"{result['minutes']:g} minutes of training each, {result['objects']} test objects",
        "nmse: symmetry-adjusted error of the network alone; twin: correlation of its objects with their own twins; "
        "refined: HIO 150 + shrink-wrap + ER 30, solved below .01; centreless: nmse without the pattern's centre.",
        ("variant",),
        ("steps", "nmse", "IoU", "twin", "refined", "solved", "centreless"),
    )
    for name, row in result["variants"].items():
        table.add_row(
            name,
            str(row["steps"]),
            *(text_of(row.get(key), ".3f") for key in ("nmse_mean", "support_iou", "own_twin", "refined_nmse_mean")),
            text_of(row.get("refined_solved"), ".0%"),
            text_of(row.get("centreless_nmse_mean"), ".3f"),
        )
    console = Console()
    console.print(table)
    for name, row in result["variants"].items():
        console.print(f"{name}: {row['purpose']}", style="dim", highlight=False)


def table_of(title: str, caption: str, words: Sequence[str], figures: Sequence[str], *, folds: bool = False) -> Table:
    """Return a table within 80 columns: words on the left, folded where they may be, and figures on the right."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), title=title, caption=caption)
    for heading in words:
        table.add_column(heading, no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def text_of(value: float | None, how: str) -> str:
    """Return a figure as text, a dash where there is none."""
    return "–" if value is None else format(value, how)
