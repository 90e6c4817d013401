"""The tables of what the commands of :mod:`~napari_dipr.benchmarks.trust` find."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from napari_dipr.benchmarks.tables import table_of, text_of


def show_verdicts(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.verdict.verdicts`."""
    kinds = list(result["confusion"])
    table = table_of(
        f"Verdicts on {result['each']} ensembles of each class, {result['starts']} starts each, seed {result['seed']}",
        f"{result['right']:.0%} right; {result['wrong_agree']} verdicts agree on what has an nmse above .1.",
        ("made as",),
        kinds,
        folds=True,
    )
    for kind, counts in result["confusion"].items():
        table.add_row(kind, *(str(counts[k]) for k in kinds))
    Console().print(table)


def show_checkpoints(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.checkpoints.checkpoints`."""
    table = table_of(
        f"Checkpoints every {result['interval']:g} s, {result['threads']} threads",
        f"CPU: processor time that one takes; cost: loop time, median of {result['writes']} pairs of stretches and "
        f"quartiles; shares: of the interval; ratio: iterations in {result['pairs']} runs of {result['seconds']:g} s "
        "with over without.",
        ("run",),
        ("MB", "write ms", "CPU ms", "share", "cost ms", "quartiles", "share", "ratio"),
    )
    for row in result["rows"]:
        low, high = row["cost_quartiles_ms"]
        table.add_row(
            f"{row['recipe'].partition('*')[0]} {row['grid'][0]}{'²³'[len(row['grid']) - 2]}",
            text_of(row["megabytes"], ".3g"),
            *(text_of(row[key], ".0f") for key in ("write_ms", "cpu_ms")),
            text_of(row["cpu_share"], ".2%"),
            text_of(row["cost_ms"], ".0f"),
            f"{low:.0f}…{high:.0f}",
            text_of(row["share"], ".2%"),
            text_of(row["ratio"], ".3f"),
        )
    Console().print(table)


def show_kills(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.kills.kills`."""
    table = table_of(
        f"{result['kills']} runs killed, a checkpoint every {result['interval']:g} s, seed {result['seed']}",
        f"{result['recipe']} on {result['side']}³; of {result['kills']} kills {result['while_writing']} came while a "
        f"state was written, {result['before_the_first']} before the first was.",
        ("",),
        ("figure",),
    )
    for words, key in (
        ("lost at most, s", "lost_most"),
        ("lost in the median, s", "lost_median"),
        ("lost more than the interval", "late"),
        ("finished iterations lost at most, s", "finished_most"),
        ("states that are not the uninterrupted run's", "unlike"),
        ("so after three more iterations", "unlike_later"),
        ("damaged files", "damaged"),
        ("a state's size, MB", "megabytes"),
    ):
        table.add_row(words, text_of(result[key], ".3g"))
    Console().print(table)


def show_guided(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.guided.compare`."""
    for name in dict.fromkeys(row["set"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["set"] == name]
        table = table_of(
            f"{name}: {result['objects']} objects, {rows[0]['iterations']} iterations each, seed {result['seed']}",
            "best, mean: share of energy that is wrong, of the best start by the free pixels and of the mean of those "
            "kept, medians; solved: best below .01; free: the best's criterion; ratio: of the errors to the first "
            "row's, geometric mean; ± objects whose best is better or worse by more than 5 %.",
            ("starts",),
            ("best", "mean", "solved", "free", "ratio", "mean", "±", "s"),
        )
        for row in rows:
            table.add_row(
                row["way"],
                f"{row['best_median']:.3f}",
                f"{row['mean_median']:.3f}",
                f"{row['solved']:.0%}",
                f"{row['criterion']:.2f}",
                f"{row['ratio']:.2f}",
                f"{row['mean_ratio']:.2f}",
                f"{row['better']}/{row['worse']}",
                f"{row['seconds']:.0f}",
            )
        Console().print(table)
    table = table_of(
        "All objects: errors over those of the first row, geometric mean ± standard error",
        "better, worse: objects whose best is so by more than 5 %.",
        ("starts",),
        ("best", "mean of those kept", "better", "worse"),
    )
    for row in result["overall"]:
        ratios = (f"{row[name]:.2f} ± {row[name + '_error']:.2f}" for name in ("ratio", "mean_ratio"))
        table.add_row(row["way"], *ratios, str(row["better"]), str(row["worse"]))
    Console().print(table)


def show_resolution(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.resolution.resolution`."""
    console = Console()
    for kind, rows in result["bias"].items():
        cases = [case for case in result["cases"] if case["kind"] == kind]
        table = table_of(
            f"{kind}, {result['starts']} starts, the best {result['keep']} averaged, seed {result['seed']}: nm",
            "true: where the mean correlates with the truth at .5; error: where half of a shell's energy is wrong; "
            "PRTF at 1/e: of those averaged, of all, of all beyond chance; FSC of halves of the starts at .5 "
            "and at half a bit; split: of two patterns with half of the photons each. –: to the array's edge at "
            f"{cases[0]['edge']:.0f}.",
            ("no.", "photons"),
            ("true", "error", "PRTF", "all", "beyond", "FSC", "½ bit", "split", "½ bit"),
        )
        for case in cases:
            values = [case["true"], case["error"], *case["claimed"].values()]
            counts = f"{case['photons']:.0e}".replace("+0", "")
            table.add_row(str(case["number"] + 1), counts, *(text_of(value, ".0f") for value in values))
        console.print(table)
        table = table_of(
            f"{kind}: claimed over true resolution, below 1 where too much is claimed",
            "Geometric means, × or ÷ one standard deviation, and range; own: over the claim's counterpart with the "
            "truth known; excess: of the claim's curve over the true one; edge: cases in which one + both reach the "
            "array's edge, where the ratio is a bound + 1. With the true phases and the counts' moduli the split's "
            f"excess is {_mean_of(cases, 'whole'):+.2f}, cut to the true support {_mean_of(cases, 'cut'):+.2f}.",
            ("claim",),
            ("ratio", "×÷", "range", "own", "×÷", "excess", "edge"),
        )
        for claim, row in rows.items():
            own = row["own"]
            table.add_row(
                claim.replace("_", " "),
                f"{row['mean']:.2f}",
                f"{row['spread']:.2f}",
                f"{row['least']:.2f}–{row['most']:.2f}",
                f"{own['mean']:.2f}",
                f"{own['spread']:.2f}",
                f"{row['excess']:+.2f}",
                f"{row['edge']} + {row['both']}",
            )
        console.print(table)


def show_batches(result: dict[str, Any]) -> None:
    """Print the figures of :func:`~napari_dipr.benchmarks.batches.batches`."""
    count, workers = result["patterns"], result["workers"]
    table = table_of(
        f"{count} patterns over {workers} workers, seed {result['seed']}",
        "whole: patterns a second; after: without the first rows, and with them without the workers' start.",
        ("way", "starts"),
        ("whole", "after"),
    )
    for row in result["times"]:
        table.add_row(row["way"], str(row["starts"]), f"{row['whole']:.3g}", f"{row['after']:.3g}")
    Console().print(table)
    Console().print(
        f"equal to one process bit for bit: {result['same']} of {count}; with a worker killed after "
        f"{result['rows_when_killed']} rows {result['same_killed']} of {count}, {result['failed']} failed, over "
        f"{result['processes']} processes"
    )


def _mean_of(cases: Sequence[dict[str, Any]], name: str) -> float:
    return sum(case["true_phases"][name] for case in cases) / len(cases)
