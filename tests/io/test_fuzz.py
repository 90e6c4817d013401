"""Mutated files of every format: 2 000 in all, or as many as ``NAPARI_DIPR_MUTATIONS`` says.

Each must be read (all of it, a region, or lazily) or listed, or be refused by one FileError, within SECONDS and MEMORY;
in a process that may die, which is ``python tests/io/test_fuzz.py ENDING COUNT SEED``.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_dipr.errors import FileError
from napari_dipr.io.arrays import load_array
from napari_dipr.io.listing import listing
from napari_dipr.io.record import READABLE, Record, read_record, write_record

SECONDS, MEMORY = 5, 4 << 30
MUTATIONS = int(os.environ.get("NAPARI_DIPR_MUTATIONS", "2000"))
COUNTS = np.random.default_rng(0).poisson(20, (3, 16, 20)).astype(np.int32)


def tif(path: Path) -> None:
    import tifffile

    tifffile.imwrite(path, COUNTS, compression="zlib", photometric="minisblack")


def npy(path: Path) -> None:
    np.save(path, COUNTS)


def npz(path: Path) -> None:
    np.savez_compressed(path, data=COUNTS)


def h5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("scan/data", data=COUNTS, chunks=(1, 16, 20), compression="gzip")


def cxi(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"], detector["mask"], detector["distance"] = COUNTS, np.zeros((16, 20), np.uint32), 2.0
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")


def mat(path: Path) -> None:
    import scipy.io

    scipy.io.savemat(path, {"pattern": COUNTS, "title": "a scan"}, do_compression=True)


def mrc(path: Path) -> None:
    import mrcfile

    with mrcfile.new(path) as file:
        file.set_data(COUNTS.astype(np.float32))


def edf(path: Path) -> None:
    import fabio

    image = fabio.edfimage.EdfImage(data=COUNTS[0])
    image.append_frame(data=COUNTS[1])
    image.write(str(path))


def cbf(path: Path) -> None:
    import fabio

    fabio.cbfimage.CbfImage(data=COUNTS[0]).write(str(path))


def result(path: Path) -> None:
    """Write all that a result can hold."""
    from napari_dipr.geometry import Geometry
    from napari_dipr.measurement import Measurement

    counts = COUNTS[0, :, :16]
    geometry = Geometry(wavelength=0.1, distance=1.0, pixel_size=(55.0, 55.0))
    measurement = Measurement.of(counts, geometry=geometry, source={"file": "x"})
    x = np.fft.fft2(np.sqrt(counts))
    write_record(
        path, Record.of(x, counts > 20, {}, measurement=measurement, voxel_size_nm=(4, 5), fields={"u": x.real})
    )


def mccd(path: Path) -> None:
    import struct

    long, short = "<HHII", "<HHIHxx"
    tags = [(long, 256, 4, 20), (long, 257, 4, 16), (short, 258, 3, 16), (short, 259, 3, 1), (short, 262, 3, 1)]
    tags += [(long, 273, 4, 4096), (long, 278, 4, 16), (long, 279, 4, 640)]
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    head += b"".join(struct.pack(form, tag, kind, 1, value) for form, tag, kind, value in tags)
    path.write_bytes(head.ljust(4096, b"\0") + COUNTS[0].astype("<u2").tobytes())


KINDS = (tif, npy, npz, h5, cxi, mat, mrc, edf, cbf, mccd)
VALID: dict[str, Callable[[Path], None]] = {f.__name__: f for f in KINDS}


def lazily(path: Path) -> None:
    array = load_array(path, lazy=True).array
    if array.nbytes < 10**8:  # what its header says
        np.asarray(array)


WAYS: tuple[Callable[[Path], object], ...] = (
    load_array,
    lambda path: load_array(path, region=":2, 3:"),
    lazily,
    listing,
)
RESULTS = {f"result{ending}": result for ending in READABLE}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file's bytes with some changed, cut off, repeated or taken out; the first kilobyte most often."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        reach = min(len(changed), 1024) if rng.random() < 0.7 else len(changed)
        at, kind = int(rng.integers(max(reach, 1))), rng.integers(5)
        if kind == 0:
            changed[at : at + 1] = rng.bytes(1)
        elif kind == 1:
            changed[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"])
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + int(rng.integers(1, 64))]
        else:
            changed[at:at] = changed[at : at + int(rng.integers(1, 64))]
    return bytes(changed)


def main(ending: str, count: int, seed: int) -> None:
    """Read so many mutations of a valid file; say of each which it is before it is read."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mutated.{ending}"
        (VALID | RESULTS)[ending](path)
        content = path.read_bytes()
        refused = 0
        for number in range(count):
            path.write_bytes(mutated(content, rng))
            print(f"{ending} {seed} {number}", flush=True)  # noqa: T201
            signal.alarm(SECONDS)
            try:
                read_record(path) if ending in RESULTS else WAYS[number % len(WAYS)](path)
            except FileError:
                refused += 1
            signal.alarm(0)
    print(f"refused {refused} of {count}")  # noqa: T201


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded as Linux does it")
@pytest.mark.parametrize("ending", [*VALID, *RESULTS])
def test_a_mutated_file_is_read_or_refused_in_time_and_in_bounds(ending):
    count = -(-MUTATIONS // len(VALID | RESULTS))
    command = [sys.executable, __file__, ending, str(count), "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    *_, last = done.stdout.splitlines()
    assert done.returncode == 0, (
        f"{last}: more than {SECONDS} s or {MEMORY} bytes, or another error\n{done.stderr[-2000:]}"
    )
    refused = int(last.split()[1])
    assert 0 < refused < count  # else nothing was tried


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
