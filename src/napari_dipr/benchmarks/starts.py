"""What the rows of Table 1 start from: at random in some support, or a network's answers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from napari_dipr import samples
from napari_dipr.ensembles.starts import disturbed, seed_of
from napari_dipr.networks.propose import Mirror, answer_mirrored, mirrors, support_of
from napari_dipr.networks.zoo import describe_model, load_model
from napari_dipr.physics.fill import fill_unmeasured
from napari_dipr.solvers.problem import Problem, State, random_start, start_from
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

# Different answers of a network to a real object's pattern and its mirror images.
ANSWERS = 4
# Amplitude of what is added to a proposal at random, relative to its own.
DISTURBANCE = 0.5


@dataclass(frozen=True)
class Batch:
    """Measurements and what they are of: the truth ``[batch, 72, 72]``, for scores and oracles alone."""

    problem: Problem
    truth: Tensor
    seed: int


# Makes so many starts for a batch, their supports with them.
Starts = Callable[[Batch, int], list[State]]


def _random(batch: Batch, support: Tensor, count: int) -> list[State]:
    return [random_start(batch.problem, support, seed_of(batch.seed, number)) for number in range(count)]


def from_window(batch: Batch, count: int) -> list[State]:
    """Start at random in the whole field, as without knowledge."""
    window = torch.from_numpy(samples.field_window()).to(batch.problem.device)
    return _random(batch, window.expand(batch.problem.amplitudes.shape).contiguous(), count)


def from_autocorrelation(batch: Batch, count: int) -> list[State]:
    """Start at random in the support that the data alone tell."""
    return _random(batch, autocorrelation_support(batch.problem), count)


def from_truth(batch: Batch, count: int) -> list[State]:
    """Start at random in the exact support: what no proposal can surpass."""
    return _random(batch, batch.truth != 0, count)


def from_proposal(model: str) -> Starts:
    """Start from a network's answers to the pattern and its mirror images, then from the same disturbed."""

    def starts(batch: Batch, count: int) -> list[State]:
        problem, how = batch.problem, describe_model(model).proposal
        network, patterns = load_model(model, str(problem.device)), filled(problem)
        objects = []
        for mirror in islice(_handed(patterns), count):
            cornered = answer_mirrored(network, mirror, patterns, problem.measured)
            objects.append(torch.fft.fftshift(cornered, (1, 2)))
        supports = [support_of(x, how) for x in objects]
        for number in range(len(objects), count):
            which = number % ANSWERS
            seed = seed_of(batch.seed, number)
            objects.append(disturbed(problem, objects[which], supports[which], DISTURBANCE, seed))
            supports.append(supports[which])
        return [start_from(problem, x, support) for x, support in zip(objects, supports, strict=True)]

    return starts


def _handed(patterns: Tensor) -> Iterator[Mirror]:
    # A real object's pattern is its own reverse: along one axis is as good as along the other.
    return (mirror for mirror in mirrors(patterns) if 2 not in mirror.reversed)


def filled(problem: Problem) -> Tensor:
    """Return the intensities that a network sees, unmeasured pixels filled."""
    return fill_unmeasured(problem.amplitudes.square(), problem.measured)
