"""Recipes: stages, each an algorithm for a number of iterations, and what works beside them. A recipe is data."""

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from napari_dipr.errors import RecipeError, explained
from napari_dipr.solvers.alm import ALM
from napari_dipr.solvers.coherence import PartialCoherence
from napari_dipr.solvers.likelihood import Gaussian, Poisson
from napari_dipr.solvers.projections import DM, ER, HIO, RAAR, RRR, Detwin
from napari_dipr.solvers.shrinkwrap import ShrinkWrap

if TYPE_CHECKING:
    from napari_dipr.solvers.problem import Problem

MOST_ITERATIONS = 1_000_000
MOST_STAGES = 1000
DEEPEST = 9

AnyAlgorithm = Annotated[ER | HIO | RAAR | DM | RRR | ALM | Detwin | Poisson | Gaussian, Field(discriminator="name")]
ALGORITHMS: dict[str, Any] = {
    algorithm.model_fields["name"].default: algorithm
    for algorithm in (ER, HIO, RAAR, DM, RRR, ALM, Detwin, Poisson, Gaussian)
}


class Stage(BaseModel):
    """One algorithm for a number of iterations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: AnyAlgorithm
    iterations: int = Field(ge=1, le=MOST_ITERATIONS)

    def __str__(self) -> str:
        """Return the compact text, such as ``hio(beta=0.8)*300``."""
        return f"{_written(self.algorithm.name, self.algorithm)}*{self.iterations}"


class Settling(BaseModel):
    """When a stage that searches ends on its own: nothing improves any more, or the support runs away.

    What is watched is χ², on the free pixels where some are held back, at the best of the stage's looks so far.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(20, ge=1, le=1000, description="iterations between two looks")
    patience: int = Field(100, ge=1, le=100_000, description="iterations without an improvement after which it ends")
    gain: float = Field(0.02, gt=0, lt=1, description="share by which χ² must fall to count as an improvement")
    solved: float = Field(1e-9, ge=0, lt=1, description="χ² below which there is nothing left to improve")
    hopeful: float = Field(
        1, gt=0, le=1, description="χ² above which it goes on though nothing improves: something is left to explain"
    )


class Recipe(BaseModel):
    """Stages, and what works beside them.

    Attributes
    ----------
    stages
        Carried out one after the other.
    shrinkwrap
        How the support follows the object; None: it stays as it is.
    coherence
        How the light's coherence is estimated; None: it is not.
    settling
        When stages that search end on their own; None: never.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stages: tuple[Stage, ...] = Field(min_length=1, max_length=MOST_STAGES)
    shrinkwrap: ShrinkWrap | None = ShrinkWrap()
    coherence: PartialCoherence | None = None
    settling: Settling | None = None

    @property
    def iterations(self) -> int:
        """Iterations of all stages together."""
        return sum(stage.iterations for stage in self.stages)

    def __str__(self) -> str:
        """Return the compact text with all that it takes to read the recipe back: ``hio*300 + er*50; shrinkwrap``."""
        parts = [_compact([str(stage) for stage in self.stages])]
        for name in BESIDE:
            options = getattr(self, name)
            if options is not None:
                parts.append(_written(name, options))
            elif type(self).model_fields[name].default is not None:  # whoever reads it may have one at hand
                parts.append(f"no {name}")
        return "; ".join(parts)

    @classmethod
    def of(cls, values: Any) -> "Recipe":
        """Check a recipe's values, as its JSON has them.

        Raises
        ------
        RecipeError
            If one is missing, not known, or out of its range.
        """
        with explained(RecipeError, "The recipe does not fit"):
            return cls.model_validate(values)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        iterations: int | None = None,
        shrinkwrap: ShrinkWrap | None = None,
        coherence: PartialCoherence | None = None,
        problem: "Problem | None" = None,
        **options: float,
    ) -> "Recipe":
        """Read a preset's name or the compact text.

        Parameters
        ----------
        text
            One of :data:`~napari_dipr.solvers.presets.PRESETS`, or stages joined by ``+``: ``name*iterations`` with
            options in brackets where they are not the defaults, such as ``hio(beta=0.8)*300 + er*50``. A group in
            brackets is repeated: ``(raar*80 + er*20)*5``. What works beside them may follow after semicolons:
            ``hio; shrinkwrap(threshold=0.1); coherence; settling``, or ``no shrinkwrap``, and then counts instead of
            the arguments.
        iterations
            Iterations of a preset in all, of ``auto`` at most; None for its own. The text states its own.
        shrinkwrap, coherence
            As in :class:`Recipe`.
        problem
            What is to be solved: ``auto`` chooses by it.
        **options
            Of a preset's algorithm, such as ``beta``.

        Raises
        ------
        RecipeError
            If the text cannot be read, with the part that was not understood.
        """
        from napari_dipr.solvers.presets import PRESETS

        text, *others = (part.strip() for part in text.lower().split(";"))
        beside = {"shrinkwrap": shrinkwrap, "coherence": coherence} | dict(_beside(part) for part in others)
        if text in PRESETS:
            if iterations is not None and not 1 <= iterations <= MOST_ITERATIONS:
                raise RecipeError(f"{iterations} iterations were asked for; it must be 1 to {MOST_ITERATIONS}.")
            given = {} if iterations is None else {"iterations": iterations}
            with explained(RecipeError, f"The options of {text} do not fit"):
                chosen = PRESETS[text](problem=problem, **given, **options)
            chosen = chosen.model_copy(update=beside)
            chosen.check()
            return chosen
        if iterations is not None or options:
            extra = [
                f"{key}={value:g}" for key, value in {"iterations": iterations, **options}.items() if value is not None
            ]
            raise RecipeError(
                f"The recipe {text!r} states its own iterations and options: leave out {', '.join(extra)}."
            )
        written = cls(stages=tuple(_stages(text)), **beside)
        written.check()
        return written

    def check(self) -> None:
        """Refuse what does not go together.

        Raises
        ------
        RecipeError
            If coherence is to be estimated, and an algorithm does not allow for it or it would begin too late.
        """
        if self.coherence is None:
            return
        if names := {stage.algorithm.name for stage in self.stages if stage.algorithm.coherent}:
            raise RecipeError(f"Partial coherence does not go with {', '.join(names)}; take raar or hio.")
        if self.coherence.start >= self.iterations:
            raise RecipeError(
                f"The coherence is first estimated after {self.coherence.start} iterations, and the recipe has "
                f"{self.iterations}: take more, or coherence(start=...)."
            )


BESIDE: dict[str, Any] = {"shrinkwrap": ShrinkWrap, "coherence": PartialCoherence, "settling": Settling}

_STAGE = re.compile(r"\s*(?P<name>\w+)\s*(\((?P<options>[^()]*)\))?\s*\*\s*(?P<iterations>\d{1,9})\s*")
_BESIDE = re.compile(r"\s*(?P<no>no\s+)?(?P<name>\w+)\s*(\((?P<options>[^()]*)\))?\s*")
_GROUP = re.compile(r"\s*\((?P<stages>.*)\)\s*\*\s*(?P<times>\d{1,9})\s*")


def _stages(text: str, depth: int = 0) -> list[Stage]:
    if depth > DEEPEST:
        raise RecipeError(f"The recipe has groups in groups more than {DEEPEST} deep.")
    found: list[Stage] = []
    for part in _parts(text):
        if group := _GROUP.fullmatch(part):
            again = _stages(group["stages"], depth + 1)
            times = int(group["times"])
            if not 1 <= times <= MOST_STAGES:
                raise RecipeError(f"The recipe's part {part.strip()!r} is repeated {times} times; 1 to {MOST_STAGES}.")
            found += again * times
        else:
            found.append(_stage(part))
        if len(found) > MOST_STAGES:
            raise RecipeError(f"The recipe has more than {MOST_STAGES} stages.")
    return found


def _written(name: str, options: BaseModel) -> str:
    """Write a name with the options that are not the defaults."""
    changed = options.model_dump(exclude={"name"}, exclude_defaults=True)
    inner = ",".join(f"{key}={value}" for key, value in changed.items())
    return f"{name}({inner})" if inner else name


def _parts(text: str) -> list[str]:
    """Split at each ``+`` that is in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "+" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _compact(stages: list[str]) -> str:
    """Write stages, and sequences of them that come several times in a row as ``(…)*n``."""
    parts, at = [], 0
    while at < len(stages):
        length, times = 1, 1
        for size in range(1, (len(stages) - at) // 2 + 1):
            count = 1
            while stages[at + count * size : at + (count + 1) * size] == stages[at : at + size]:
                count += 1
            if count > 1 and count * size > length * times:
                length, times = size, count
        group = " + ".join(stages[at : at + length])
        parts.append(group if times == 1 else f"({group})*{times}")
        at += length * times
    return " + ".join(parts)


def _stage(text: str) -> Stage:
    from napari_dipr.solvers.presets import PRESETS

    known = f"Write stages as NAME*ITERATIONS, joined by +, NAME one of {', '.join(ALGORITHMS)}; or a preset: "
    known += f"{', '.join(PRESETS)}."
    match = _STAGE.fullmatch(text)
    if match is None or match["name"] not in ALGORITHMS:
        raise RecipeError(f"The recipe's part {text.strip()!r} was not understood. {known}")
    options = _options(text, match["options"])
    with explained(RecipeError, f"The recipe's part {text.strip()!r} has options that do not fit"):
        return Stage(algorithm=ALGORITHMS[match["name"]](**options), iterations=int(match["iterations"]))


def _beside(text: str) -> tuple[str, Any]:
    match = _BESIDE.fullmatch(text)
    if match is None or match["name"] not in BESIDE:
        raise RecipeError(
            f"The recipe's part {text.strip()!r} was not understood. After the stages may stand {', '.join(BESIDE)}, "
            "each with no before it to leave it out."
        )
    if match["no"] and match["options"] is not None:
        raise RecipeError(f"The recipe's part {text.strip()!r} has options for what shall not be.")
    if match["no"]:
        return match["name"], None
    options = _options(text, match["options"])
    with explained(RecipeError, f"The recipe's part {text.strip()!r} has options that do not fit"):
        return match["name"], BESIDE[match["name"]](**options)


def _options(text: str, inner: str | None) -> dict[str, str]:
    options = {}
    for pair in (inner or "").replace(" ", "").split(","):
        key, equals, value = pair.partition("=")
        if pair and not (key and equals and value):
            raise RecipeError(f"The recipe's part {text.strip()!r} has {pair!r} where OPTION=VALUE is expected.")
        if pair:
            options[key] = value
    return options
