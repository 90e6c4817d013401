"""The work on some patterns of a batch, in whichever process it is done: read, solve, write."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipr.batch.inputs import Pattern
from napari_dipr.batch.job import DONE, Job, Row, failed
from napari_dipr.batch.picture import pictures
from napari_dipr.device import find_device, release_memory
from napari_dipr.ensembles.starts import batch_size
from napari_dipr.gather import gather
from napari_dipr.io.read import read
from napari_dipr.io.record import Record, write_records
from napari_dipr.lattice import Lattice, crystal_of
from napari_dipr.measurement import Measurement
from napari_dipr.reconstruct import Asked, Carried, Request, outcome, with_enough_memory
from napari_dipr.solvers.position import Record as Last
from napari_dipr.solvers.problem import Errors, State
from napari_dipr.solvers.run import Reconstruction, solve
from napari_dipr.truth import compared, known_object

# A result: its record, the crystal where it is one, and its figures.
Found = tuple[Record, Lattice | None, dict[str, Any]]


@dataclass(eq=False)
class _Opened:
    """A pattern that was read: of what its result comes, the request that suits it, the seconds that steps took."""

    pattern: Pattern
    of: dict[str, Any]
    request: Request
    measurement: Measurement
    known: NDArray[np.generic] | None
    window: NDArray[np.bool_] | None
    costs: dict[str, float]
    remarks: list[str] = field(default_factory=list)
    asked: Asked | None = None


def solve_patterns(job: Job, patterns: Sequence[Pattern]) -> list[Row]:
    """Solve patterns, write each one's result and then its row, and return the rows.

    What is finished already, as by a worker that has died since, is not solved again. A pattern that cannot be read,
    solved or written has a row that says why.
    """
    torch.set_num_threads(job.threads)
    rows: dict[int, Row] = {}
    opened: list[_Opened] = []
    for pattern in patterns:
        try:
            if (row := job.finished(pattern)) is not None:
                rows[pattern.number] = row
            else:
                opened.append(_open(job, pattern))
        except Exception as error:
            rows[pattern.number] = failed(job, pattern, error)
    for one, found in _solved(job, opened):
        try:
            if isinstance(found, Exception):
                raise found
            rows[one.pattern.number] = _keep(job, one, *found)
        except Exception as error:
            rows[one.pattern.number] = failed(job, one.pattern, error)
    return [rows[pattern.number] for pattern in patterns]


def _open(job: Job, pattern: Pattern) -> _Opened:
    began = time.perf_counter()
    of = job.asked(pattern)  # before it is read: of what is changed meanwhile, the row is none
    measurement = read(pattern.input, key=job.key, frame=pattern.frame, region=job.region, preparation=job.preparation)
    known, window, remark = known_object(pattern.input, None, measurement)
    request, measurement, why = job.request.suited(measurement)
    remarks = [words for words in (remark, why) if words]
    return _Opened(pattern, of, request, measurement, known, window, {"read": time.perf_counter() - began}, remarks)


def _solved(job: Job, opened: Sequence[_Opened]) -> Iterator[tuple[_Opened, Found | Exception]]:
    """Solve what was opened; what is of one shape and can be, together."""
    alone = list(opened)
    if job.starts == 1 and job.together != 1:
        alone, groups = _groups(job, opened)
        for group in groups:
            try:
                carried = _together([one.asked for one in group if one.asked is not None])
            except Exception:  # one that diverges ends the batch, as a full memory does: each has its own chance
                release_memory()
                alone += group
                continue
            for one, its in zip(group, carried, strict=True):
                yield one, _tried(_outcome, one, its, len(group))
    for one in alone:
        yield one, _tried(_gathered, job, one) if job.starts > 1 else _tried(_alone, one)


def _tried(do: Callable[..., Found], *arguments: Any) -> Found | Exception:
    try:
        return do(*arguments)
    except Exception as error:
        return error


def _alone(one: _Opened) -> Found:
    def on(device: str) -> Carried:
        asked = one.asked
        if asked is None or str(asked.problem.device) != device:
            asked = one.request.asked(one.measurement, device)
        return Carried(solve(asked.problem, asked.recipe, asked.start(), record_every=10), asked)

    began = time.perf_counter()
    carried = with_enough_memory(one.request.device, on, one.remarks.append)
    one.costs["solve"] = time.perf_counter() - began
    return _outcome(one, carried)


def _gathered(job: Job, one: _Opened) -> Found:
    began = time.perf_counter()
    found = gather(one.request, one.measurement, job.starts, say=one.remarks.append)
    one.costs["solve"] = time.perf_counter() - began
    record, figures, verdict = found.record(), found.figures, found.verdict
    mean = figures["mean"]
    prtf, fsc = figures["prtf"], figures["fsc"]
    told = {
        **mean,
        "iterations": sum(row.iterations for row in found.ensemble.rows),
        "seconds": round(one.costs["solve"], 3),
        "voxel_size_nm": one.measurement.voxel_size,
        "verdict": verdict.short,
        "words": verdict.words,
        "cause": verdict.cause,
        "kept": len(figures["kept"]),
        "unit": figures["unit"],
        "prtf_resolution": None if prtf is None else prtf["resolution_beyond_chance"],
        "fsc_resolution": None if fsc is None else fsc["resolution"],
    }
    crystal = crystal_of(one.measurement, record.object, record.support)
    nmse = None if one.known is None else compared(record.object, one.known, one.window)
    told |= {"nmse": nmse, "crystal": None if crystal is None else crystal.figures}
    return record, crystal, told


def _outcome(one: _Opened, carried: Carried, together: int = 1) -> Found:
    began = time.perf_counter()
    nmse = None
    if one.known is not None:
        nmse = compared(carried.result.object[0].cpu().numpy(), one.known, one.window)
    one.costs["compare"] = time.perf_counter() - began
    one.costs.setdefault("solve", carried.result.seconds)
    return outcome(one.request, one.measurement, carried, nmse, solved_together=together)


def _keep(job: Job, one: _Opened, record: Record, crystal: Lattice | None, figures: dict[str, Any]) -> Row:
    """Write a result and its row."""
    began = time.perf_counter()
    paths = write_records([job.result(one.pattern)], record, crystal)
    one.costs["write"] = time.perf_counter() - began
    shown = pictures(one.measurement, record)
    one.costs["pictures"] = time.perf_counter() - began - one.costs["write"]
    row = job.row(
        one.pattern,
        DONE,
        **figures,
        starts=job.starts,
        seed=one.request.seed,
        model=one.request.model,
        outputs={kind: str(path) for kind, path in paths.items()},
        remarks=one.remarks,
        costs={step: round(seconds, 5) for step, seconds in one.costs.items()},
        process=os.getpid(),
    )
    job.write(one.pattern, row, one.of, shown)
    return row


def _groups(job: Job, opened: Sequence[_Opened]) -> tuple[list[_Opened], list[list[_Opened]]]:
    """Return what is to be solved alone, and groups that are solved as batches.

    A pattern is solved alone where its run depends on itself: where stages end on their own, pixels are held back, or
    the light's coherence is estimated.
    """
    alone: list[_Opened] = []
    alike: dict[Any, list[_Opened]] = {}
    for one in opened:
        began = time.perf_counter()
        try:
            one.asked = one.request.asked(one.measurement, str(find_device(one.request.device)))
        except Exception:  # it is asked for, and told, again
            alone.append(one)
            continue
        one.costs["prepare"] = time.perf_counter() - began
        p, recipe = one.asked.problem, one.asked.recipe
        if recipe.settling is not None or recipe.coherence is not None or p.free is not None:
            alone.append(one)
        else:
            alike.setdefault((p.grid, p.real, p.positive, p.photons, str(recipe)), []).append(one)
    groups = []
    for members in alike.values():
        first = members[0].asked
        assert first is not None
        size = min(batch_size(first.problem, first.recipe, len(members)), job.together or len(members))
        groups += [members[i : i + size] for i in range(0, len(members), size)]
    alone += [group[0] for group in groups if len(group) == 1]
    return alone, [group for group in groups if len(group) > 1]


def _together(batch: Sequence[Asked]) -> list[Carried]:
    """Solve patterns of one shape as one batch of tensors; return what came of each."""
    problems = [asked.problem for asked in batch]
    measured = None
    if any(p.measured is not None for p in problems):
        masks = [
            torch.ones_like(p.amplitudes, dtype=torch.bool) if p.measured is None else p.measured for p in problems
        ]
        measured = torch.cat([mask.expand(p.amplitudes.shape) for mask, p in zip(masks, problems, strict=True)])
    whole = replace(problems[0], amplitudes=torch.cat([p.amplitudes for p in problems]), measured=measured)
    starts = [asked.start() for asked in batch]
    state = State(torch.cat([s.object for s in starts]), torch.cat([s.support for s in starts]))
    result = solve(whole, batch[0].recipe, state)
    return [Carried(_one_of(result, i), asked) for i, asked in enumerate(batch)]


def _one_of(result: Reconstruction, i: int) -> Reconstruction:
    """Return one sample of a batch's result; its history is its end, and its seconds an equal part."""
    this = slice(i, i + 1)
    e, last = result.errors, result.history[-1]
    errors = Errors(e.chi2[this], e.r_factor[this], None if e.likelihood is None else e.likelihood[this])
    end = Last(
        last.iteration,
        float(errors.chi2[0]),
        float(errors.r_factor[0]),
        float(result.support[i].sum()),
        None if errors.likelihood is None else float(errors.likelihood[0]),
        stage=last.stage,
    )
    state = replace(result.state, object=result.state.object[this], support=result.support[this], memory=None)
    seconds = result.seconds / len(result.object)
    return replace(
        result,
        object=result.object[this],
        support=result.support[this],
        errors=errors,
        history=(end,),
        state=state,
        seconds=seconds,
    )
