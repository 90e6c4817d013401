"""What a model is: the tables of its ``model.toml``. Reading them needs no torch."""

import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_dipr.errors import ModelError, in_words

if TYPE_CHECKING:
    from napari_dipr.networks.dncnn import Denoisers
    from napari_dipr.networks.unrolled import Unrolled

Side = Annotated[int, Field(ge=1, le=4096)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, table: Any) -> Any:
        unknown = [str(key) for key in table if key not in cls.model_fields] if isinstance(table, dict) else []
        if unknown:
            raise ValueError(f"there is no {', '.join(unknown)}; the keys are {', '.join(cls.model_fields)}")
        return table


class NetworkSpec(_Table):
    """What it takes to build a network: the ``[network]`` table of a ``model.toml``."""

    grid: tuple[Side, Side] | tuple[Side, Side, Side] = Field((72, 72), description="pixels of the pattern it takes")
    window: tuple[Side, Side] | tuple[Side, Side, Side] = Field(
        (36, 36), description="pixels of the window the object is in"
    )
    width: int = Field(16, ge=4, le=256, description="channels of the first level; doubled at each level below")
    levels: int = Field(4, ge=2, le=6, description="resolutions, the window's own included")
    projections: int = Field(0, ge=0, le=8, description="magnitude projections, each followed by a U-Net of its own")
    iterations: int = Field(
        0, ge=0, le=1000, description="iterations of HIO and ER before each projection, inside the object so far"
    )
    output: Literal["non-negative", "complex"] = "non-negative"

    @model_validator(mode="after")
    def _fits(self) -> "NetworkSpec":
        if len(self.grid) != len(self.window):
            raise ValueError(f"the grid {self.grid} and the window {self.window} differ in their dimensions")
        if len({m / n for m, n in zip(self.grid, self.window, strict=True)}) != 1 or self.grid[0] % self.window[0]:
            raise ValueError(f"the grid {self.grid} must be one whole multiple of the window {self.window}")
        if min(self.window) < 2 ** (self.levels - 1):
            raise ValueError(f"the window {self.window} cannot be halved {self.levels - 1} times")
        return self

    @property
    def fold(self) -> int:
        """How many times the window goes into each side of the grid."""
        return self.grid[0] // self.window[0]

    @property
    def is_complex(self) -> bool:
        """Whether its objects have phases."""
        return self.output == "complex"

    @property
    def ffts(self) -> int:
        """Fourier transforms that an answer to one pattern takes, those of smoothing apart, as in shrink-wrap."""
        return 1 + 2 * self.projections * (self.iterations + 1)

    def build(self) -> "Unrolled":
        """Return the network with fresh weights. Describing a model needs no torch, building it does."""
        from napari_dipr.networks.unrolled import Unrolled

        return Unrolled(self)


class About(_Table):
    """The ``[model]`` table: what it is called and what it is for."""

    name: str
    purpose: str
    rank: int = Field(5, ge=0, le=9, description="place among the models that fit a measurement: lowest first")
    resampled: bool = Field(True, description="whether patterns of other sizes may be brought to the network's grid")


class ProposalDefaults(_Table):
    """The ``[proposal]`` table: how the network is asked, and how the support follows from its amplitude."""

    mirrors: bool = Field(
        False,
        description="whether the best of its answers to the pattern and its mirror images is kept; without it the "
        "answer to the pattern itself is, and the others only tell how far all agree",
    )
    median: Literal[1, 3, 5, 7, 9] = Field(1, description="side of the median filter, pixels; 1 for none")
    sigma: float = Field(0.7, ge=0, le=5, description="standard deviation of the smoothing, pixels")
    level: float = Field(
        0.2, gt=0, lt=1, description="share of the object's amplitude, its mean weighted by energy, that is inside"
    )
    shrinkwrap: float = Field(
        0.2, gt=0, lt=1, description="threshold of shrink-wrap that suits its objects; uneven ones want a lower one"
    )
    dilate: int = Field(
        0,
        ge=0,
        le=5,
        description="pixels by which shrink-wrap makes the support wider: proposals are tight",
    )


LossName = Literal[
    "passive-squared", "passive-absolute", "passive-intensity", "passive-mixed", "naive", "symmetry-aware"
]


Share = Annotated[float, Field(ge=0, le=1)]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= pair[0] <= pair[1] < math.inf:
        raise ValueError(f"the least and the most must be numbers from 0 on, in this order, not {pair}")
    return pair


# The least and the most of something.
Bounds = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Variety(_Table):
    """The ``[training.variety]`` table: what simulated objects are drawn."""

    extent: Bounds = Field(
        (0.35, 1.2), description="least and most diameter of the ball that an object is cut from, in windows"
    )
    phase: Bounds = Field(
        (0.0, 1.5), description="least and most standard deviation of the phase, radians; drawn uniformly"
    )
    strong: Share = Field(0.2, description="share of the objects that have up to twice the most of phase")
    flat: Share = Field(0.2, description="share of the objects that have none")
    texture: float = Field(0.6, ge=0, description="the most that the amplitude varies, to its mean; in half of them")
    soft: float = Field(1.5, ge=0, description="the most that an edge is wide, pixels; in half of them")
    shapes: tuple[Share, Share, Share] = Field(
        (0.5, 0.25, 0.25), description="chances of a polygon or polyhedron, a blob and a cluster"
    )
    hollow: Share = Field(0.1, description="share of the objects that a ball is cut out of")
    fine: Share = Field(
        0.5, description="share drawn on half the pixel and then band-limited, as a pattern's edge does"
    )

    @model_validator(mode="after")
    def _some_shape(self) -> "Variety":
        if not any(self.shapes):
            raise ValueError("one of the shapes must have a chance")
        return self


class Flaws(_Table):
    """The ``[training.flaws]`` table: what ails the simulated patterns."""

    noisy: Share = Field(0.7, description="share of the patterns with photon noise")
    photons: Bounds = Field((1e4, 1e9), description="least and most photons in a pattern, 100 and more; by decades")
    hidden: Share = Field(0.3, description="share of the patterns with a missing centre")
    radius: Bounds = Field((0.5, 5.5), description="its least and most radius, pixels of the grid")
    dead: Share = Field(0.3, description="share of the patterns with dead pixels")
    most_dead: Share = Field(0.02, description="the most of their pixels that are dead")

    @model_validator(mode="after")
    def _some_photons(self) -> "Flaws":
        if self.photons[0] < 100:
            raise ValueError(f"a pattern of {self.photons[0]:g} photons says nothing: take 100 and more")
        return self


class Schedule(_Table):
    """What every ``[training]`` table says: how long, how fast, and from which seed."""

    batch_size: int = Field(gt=0)
    steps: int = Field(gt=0)
    learning_rate: float = Field(gt=0, description="highest rate; linear warm-up, then half a cosine to 0")
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    seed: int = 0


class TrainingSpec(Schedule):
    """The ``[training]`` table of a ``model.toml``."""

    objects: Literal["fashion-mnist", "simulated"]
    start: str | None = Field(
        None, description="model, by name or path, whose weights it begins with; None: fresh ones"
    )
    losses: dict[LossName, Annotated[float, Field(gt=0)]] = Field(min_length=1, description="losses and their weights")
    earlier: float = Field(0.3, ge=0, le=1, description="weight of the objects before each projection, beside the last")
    jacobian: float = Field(0.0, ge=0, description="weight of the Jacobian's mean square per output, eq. 2.2")
    variety: Variety = Variety()
    flaws: Flaws | None = Field(None, description="what ails the patterns; None: nothing does")


class _Document(_Table):
    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises
        ------
        ModelError
            If there is none or it does not say what it should.
        """
        if path.is_dir():
            raise ModelError(f"{path} is a folder. Give the path of the model.toml or denoisers.toml in it.")
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise ModelError(f"There is no {path}. Give the path of a model.toml or a denoisers.toml.") from error
        except ValidationError as error:
            raise ModelError(f"{path} does not describe a model: {in_words(error)}.") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ModelError(f"{path} does not describe a model: {error}.") from error


class ModelSpec(_Document):
    """A whole ``model.toml``: a network that proposes objects."""

    model: About
    network: NetworkSpec
    proposal: ProposalDefaults = ProposalDefaults()
    training: TrainingSpec

    @model_validator(mode="after")
    def _something_is_seen(self) -> "ModelSpec":
        flaws, half = self.training.flaws, min(self.network.grid) / 2
        if flaws is not None and flaws.hidden and flaws.radius[1] >= half:
            raise ValueError(
                f"training.flaws.radius is up to {flaws.radius[1]:g} pixels, which hides the pattern of "
                f"{self.network.grid} pixels from edge to edge; take less than {half:g}"
            )
        return self


class Strengths(_Table):
    """The ``[denoisers]`` table: networks of one make, for noise of several strengths."""

    name: str
    purpose: str
    sigmas: tuple[Annotated[float, Field(gt=0, lt=255)], ...] = Field(
        min_length=1, description="standard deviations of the noise, where images reach to 255; the strongest first"
    )
    layers: int = Field(17, ge=3, le=64, description="convolutions")
    width: int = Field(64, ge=4, le=256, description="channels between them")

    def build(self) -> "Denoisers":
        """Return the networks with fresh weights."""
        from napari_dipr.networks.dncnn import Denoisers

        return Denoisers(self)


class DenoisersSpec(_Document):
    """A whole ``denoisers.toml``: networks that take noise out of FashionMNIST's images."""

    denoisers: Strengths
    training: Schedule
