"""A result with all that belongs to it, and the files that it is written to and read from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dipr.errors import FileError
from napari_dipr.extras import require
from napari_dipr.io import cxi, figure, npz, tiff, vti
from napari_dipr.io.provenance import about_measurement, as_json
from napari_dipr.io.write import FORBIDDEN, check_apart, replacing, writable_folder
from napari_dipr.lattice import Lattice
from napari_dipr.measurement import Measurement


@dataclass(frozen=True, eq=False)
class Record:
    """What a reconstruction leaves.

    Make one with :meth:`of`, which settles the global phase.

    Attributes
    ----------
    object
        ``[*grid]`` complex64, 2-D or 3-D, finite; the amplitude in the square root of the intensities' unit.
    support
        ``[*grid]`` boolean.
    provenance
        Plain JSON, see :func:`~napari_dipr.io.provenance.provenance`. What is known of measurement and voxels is told
        in it in any case.
    measurement
        What it was made of; None where it is not at hand.
    voxel_size_nm
        Of the object, one per axis in the array's order, nanometres; None where the geometry is not known.
    fields
        ``[*grid]`` float32 by their names, such as a displacement in nm or a strain; NaN where they are not known.

    Raises
    ------
    FileError
        If these do not go together.
    """

    object: NDArray[np.complex64]
    support: NDArray[np.bool_]
    provenance: dict[str, Any] = field(default_factory=dict)
    measurement: Measurement | None = None
    voxel_size_nm: tuple[float, ...] | None = None
    fields: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        x, inside = np.ascontiguousarray(self.object, np.complex64), np.ascontiguousarray(self.support) != 0
        fields = {name: np.ascontiguousarray(values, np.float32) for name, values in self.fields.items()}
        if x.ndim not in (2, 3) or 0 in x.shape or any(a.shape != x.shape for a in (inside, *fields.values())):
            shapes = ", ".join(f"{name} {a.shape}" for name, a in {"support": inside, **fields}.items())
            raise FileError(f"Object {x.shape} and {shapes} must be 2-D or 3-D and of one shape.")
        if not np.isfinite(x).all():
            raise FileError(f"The object has {int((~np.isfinite(x)).sum())} pixels that are not finite. Run it again.")
        for name in fields:
            if not _plain(name) or name in ("amplitude", "phase", "support"):
                raise FileError(f"A field cannot be called {name!r}. Use letters, digits and spaces.")
        voxel = None if self.voxel_size_nm is None else tuple(float(side) for side in self.voxel_size_nm)
        if voxel is not None and (len(voxel) != x.ndim or not all(0 < side < np.inf for side in voxel)):
            raise FileError(f"Voxels of {voxel} nm do not fit an object of {x.ndim} dimensions.")
        told = {**as_json(self.provenance), "voxel_size_nm": as_json(voxel)}
        if self.measurement is not None:
            told["measurement"] = {**(told.get("measurement") or {}), **about_measurement(self.measurement)}
        values = {"object": x, "support": inside, "fields": fields, "voxel_size_nm": voxel, "provenance": told}
        for name, value in values.items():
            super().__setattr__(name, value)

    @classmethod
    def of(cls, object: ArrayLike, support: ArrayLike, provenance: dict[str, Any], **known: Any) -> "Record":
        """Make a record of a solver's object.

        Its global phase, which no intensity tells, is set so that the energy-weighted mean phase is 0; the provenance
        says what was taken off (``global_phase_removed_rad``). ``known`` are the other attributes.

        Raises
        ------
        FileError
            If these do not go together, or the object is not finite.
        """
        x = np.asarray(object)
        amplitude = np.abs(x)
        # The weights are shares of the largest, whose square may be beyond float32.
        mean = complex((amplitude / (amplitude.max(initial=0) or 1) * x).sum(dtype=np.complex128))
        removed = float(np.angle(mean)) if np.isfinite(mean) else 0.0
        turned = (x * np.exp(-1j * removed)).astype(np.complex64)
        return cls(turned, np.asarray(support), {**provenance, "global_phase_removed_rad": removed}, **known)


class Format(NamedTuple):
    """How records are written with an ending.

    Attributes
    ----------
    write
        Called with the record and where its files go.
    read
        Returns the record's attributes; None where the format cannot hold them.
    told
        Returns the provenance alone.
    about
        Who opens it, in words.
    needs
        Package and extra that must be there.
    """

    write: Callable[..., None]
    read: Callable[[Path], dict[str, Any]] | None
    told: Callable[[Path], dict[str, Any]] | None
    about: str
    needs: tuple[str, str] | None = None


FORMATS = {
    ".tif": Format(
        tiff.write_imagej,
        tiff.read_imagej,
        tiff.told_by_imagej,
        "ImageJ: amplitude and phase as channels, the support beside",
    ),
    ".ome.tif": Format(
        tiff.write_ome, tiff.read_ome, tiff.told_by_ome, "OME-TIFF: amplitude, phase and support in one file"
    ),
    ".cxi": Format(cxi.write_cxi, cxi.read_cxi, cxi.told_by_cxi, "HDF5 as PyNX lays it out, with the measurement"),
    ".npz": Format(npz.write_npz, npz.read_npz, npz.told_by_npz, "NumPy, with the measurement"),
    ".vti": Format(vti.write_vti, None, None, "ParaView"),
    ".png": Format(figure.write_png, None, None, "a figure of amplitude and phase", ("matplotlib", "figures")),
}
READABLE = tuple(ending for ending, kind in FORMATS.items() if kind.read is not None)
_ALSO = {".tiff": ".tif", ".ome.tiff": ".ome.tif"}


def ending_of(path: str | Path) -> str | None:
    """Return which of :data:`FORMATS` a file's ending stands for; None where it is none."""
    ending = _spelled(path)
    return _ALSO.get(ending, ending) or None


def files_of(path: str | Path) -> dict[str, Path]:
    """Return the files that :func:`write_record` writes, absolute, by their kinds: the ending, and ``support``.

    Raises
    ------
    FileError
        If the ending is not known, or this cannot be a file's name.
    """
    path = Path(path).absolute()
    ending = ending_of(path)
    if ending is None:
        raise FileError(f"{path.name} has no ending that results are written with. These are: {', '.join(FORMATS)}.")
    if not _plain(path.name):
        raise FileError(f"{path.name!r} cannot be a file's name. Use letters, digits, dots, hyphens and underscores.")
    files = {ending[1:]: path}
    if ending == ".tif":
        files["support"] = tiff.support_beside(path)
    return files


def check_writable(paths: Sequence[str | Path], reads: Iterable[str | Path | None] = ()) -> None:
    """Find out before a run whether records, and crystals beside them, can be written there.

    Raises
    ------
    FileError
        If an ending is not known or there twice, a place cannot be written to, or one of the files that are read would
        be replaced, see :func:`~napari_dipr.io.write.check_apart`.
    DiprError
        If a package is missing.
    """
    groups = [*_places(paths).values(), *_places(crystal_paths(paths)).values()]
    check_apart([place for group in groups for place in group.values()], reads)


def write_record(path: str | Path, record: Record) -> dict[str, Path]:
    """Write a record in the format of the file's ending; see :func:`write_records`."""
    return write_records([path], record)


def write_records(paths: Sequence[str | Path], record: Record, crystal: Lattice | None = None) -> dict[str, Path]:
    """Write a record in one or several formats, one file for each ending (see :data:`FORMATS`).

    All files appear together once the last is written in full; earlier ones of the same names stay whole until then,
    and are put back where something fails in between. Folders are made where they are missing. A ``crystal`` is
    written beside, as ``NAME_crystal`` with the same endings.

    Returns
    -------
    dict of str to Path
        What :func:`files_of` says of each path, those of a crystal with ``crystal_`` before their kinds.

    Raises
    ------
    FileError
        If the files cannot be written.
    DiprError
        If a package is missing.
    """
    groups = [("", _places(paths), record)]
    if crystal is not None:
        groups.append(("crystal_", _places(crystal_paths(paths)), _record_of(crystal, record.provenance)))
    files = [place for _, places, _ in groups for group in places.values() for place in group.values()]
    with replacing(*files) as hidden:
        beside = dict(zip(files, hidden, strict=True))
        for _, places, one in groups:
            for ending, group in places.items():
                FORMATS[ending].write(one, *(beside[place] for place in group.values()))
    return {f"{of}{kind}": place for of, places, _ in groups for g in places.values() for kind, place in g.items()}


def _record_of(crystal: Lattice, provenance: dict[str, Any]) -> Record:
    """Return a crystal as a record: displacement and strain are fields, the phase is that of the displacement."""
    there = np.isfinite(crystal.displacement)
    phase = -float(np.linalg.norm(crystal.bragg)) * np.where(there, crystal.displacement, 0)
    return Record(
        crystal.amplitude * np.exp(1j * phase),
        there,
        {**provenance, "crystal": crystal.figures},
        voxel_size_nm=(crystal.voxel,) * 3,
        fields={
            "displacement nm": crystal.displacement.astype(np.float32),
            "strain": crystal.strain.astype(np.float32),
        },
    )


def crystal_paths(paths: Sequence[str | Path]) -> list[Path]:
    """Return where :func:`write_records` writes a crystal."""
    beside = []
    for place in map(Path, paths):
        at = len(place.name) - len(_spelled(place))
        beside.append(place.with_name(f"{place.name[:at]}_crystal{place.name[at:]}"))
    return beside


def write_measurement(path: str | Path, measurement: Measurement) -> None:
    """Write a measurement alone, as CXI or NPZ, so that it is read as one.

    Raises
    ------
    FileError
        If the ending is another, or the file cannot be written.
    """
    check_measurement_writable(path)
    with replacing(Path(path).absolute()) as (hidden,):
        (cxi.write_measurement if Path(path).suffix.lower() == ".cxi" else npz.write_measurement)(measurement, hidden)


def check_measurement_writable(path: str | Path) -> None:
    """Find out before the work whether a measurement can be written there; raise FileError where it cannot."""
    if Path(path).suffix.lower() not in (".cxi", ".npz"):
        raise FileError(f"{Path(path).name}: measurements are written as .cxi or .npz. Choose one of these endings.")
    writable_folder(Path(path).absolute().parent)


def read_record(path: str | Path) -> Record:
    """Read what :func:`write_record` wrote; of a PyNX result (``.cxi``) object, support and voxels.

    TIFF holds no measurement: the provenance tells its source.

    Raises
    ------
    FileError
        If the file is missing, damaged, or holds no result.
    """
    path = Path(path)
    ending = ending_of(path)
    reader = None if ending is None else FORMATS[ending].read
    if reader is None:
        raise FileError(f"{path.name} is not read as a result. These are: {', '.join(READABLE)}.")
    if not path.is_file():
        raise FileError(f"There is no file {path}.")
    try:
        return Record(**reader(path))
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(f"{path.name} does not fit into memory.") from error
    except Exception as error:  # of a damaged file, decoders raise nearly anything
        raise FileError(f"{path.name} holds no result: {error or type(error).__name__}") from error


def told_by(path: str | Path) -> dict[str, Any]:
    """Return what a file that this program wrote tells of itself; nothing of others, and of damaged ones."""
    path, ending = Path(path), ending_of(path)
    reader = None if ending is None or not path.is_file() else FORMATS[ending].told
    try:
        return {} if reader is None else reader(path)
    except Exception:  # decoders raise nearly anything; whoever reads the file tells
        return {}


def is_result(path: str | Path) -> bool:
    """Say whether a file is a result that this program wrote, and no crystal of one; a damaged one is none."""
    told = told_by(path)
    return told.get("program") == "napari-dipr" and "crystal" not in told and "measurement" in told


def _spelled(path: str | Path) -> str:
    """Return a file's ending in small letters, if it is one that results are written with; else nothing."""
    name = Path(path).name.lower()
    found = [ending for ending in (*FORMATS, *_ALSO) if name.endswith(ending) and name != ending]
    return max(found, key=len, default="")


def _places(paths: Sequence[str | Path]) -> dict[str, dict[str, Path]]:
    """Return the files of each ending, once it is sure that they can be written."""
    places: dict[str, dict[str, Path]] = {}
    for path in paths:
        files = files_of(path)
        ending = f".{next(iter(files))}"
        if ending in places:
            raise FileError(f"{path} is a second file {ending}. Name one for each ending.")
        places[ending] = files
        if (needs := FORMATS[ending].needs) is not None:
            require(f"a file {ending}", *needs)
        writable_folder(Path(path).absolute().parent)
        for place in files.values():
            if place.is_dir():
                raise FileError(f"Cannot write {place}: it is a folder. Choose another name.")
    return places


def _plain(name: str) -> bool:
    return name.isprintable() and bool(name.strip(". ")) and not set(name) & FORBIDDEN
