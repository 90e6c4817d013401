"""No more of a large file is in memory than what is asked for, and none of what a header only announces."""

import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pytest
import tifffile

from napari_dipr.errors import FileError
from napari_dipr.io import content
from napari_dipr.io.arrays import load_array

SHAPE = (200, 1000, 1000)  # 400 MB of 16 bits
LARGE, BOUND = 2 * 200 * 1000 * 1000, 16 << 20
# By how many bytes a process grew at most until it had read each file's region, as NumPy's and lazily, and one file.
READ = """
import sys
from pathlib import Path
from napari_dipr.io.arrays import load_array
import dask.array, h5py, tifffile

def kilobytes(what):
    return int(Path("/proc/self/status").read_text().partition(what)[2].split()[0])

def report(array):
    print(1024 * (kilobytes("VmHWM:") - began), array.shape, int(array.sum()), sep=";")

dask.array.zeros(1).compute()  # loads what dask loads for its first one
began = kilobytes("VmRSS:")
for path in sys.argv[1:]:
    report(load_array(path, region="90:94, 400:528, 300:428").array)
    report(load_array(path, lazy=True).array[92, 400:528, 300:428].compute())
report(load_array(sys.argv[1]).array)
"""


def sparse_npy(path):
    with path.open("wb") as file:
        header = {"descr": "<u2", "fortran_order": False, "shape": SHAPE}
        np.lib.format.write_array_header_1_0(file, header)
        begin = file.tell()
        file.seek(begin + 2 * ((92 * 1000 + 410) * 1000 + 310))
        file.write(b"\7\0")
        file.truncate(begin + LARGE)


def sparse_hdf5(path):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", SHAPE, np.uint16, chunks=(1, 250, 250), compression="gzip")
        data[92, 410, 310] = 7  # the other chunks are not stored


def sparse_tiff(path):
    with tifffile.TiffWriter(path) as file:
        file.write(shape=SHAPE, dtype=np.uint16, photometric="minisblack")
    with path.open("r+b") as file, tifffile.TiffFile(path) as tiff:
        file.seek(tiff.series[0].dataoffset + 2 * ((92 * 1000 + 410) * 1000 + 310))
        file.write(b"\7\0")


def packed_tiff(path):
    frame = np.zeros(SHAPE[1:], np.uint16)
    with tifffile.TiffWriter(path) as file:
        for number in range(SHAPE[0]):
            frame[410, 310] = 7 if number == 92 else 0
            file.write(frame, photometric="minisblack", compression="zlib", contiguous=False, metadata=None)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak in /proc")
def test_a_region_takes_the_memory_of_a_region(tmp_path):
    writers = {"large.h5": sparse_hdf5, "large.npy": sparse_npy, "large.tif": sparse_tiff, "packed.tif": packed_tiff}
    for name, write in writers.items():
        write(tmp_path / name)
    command = [sys.executable, "-c", READ, *(str(tmp_path / name) for name in writers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *parts, whole = (line.split(";") for line in done.stdout.splitlines())
    assert [words for _, *words in parts] == [["(4, 128, 128)", "7"], ["(128, 128)", "7"]] * len(writers)
    assert max(int(grown) for grown, *_ in parts) < BOUND
    assert int(whole[0]) > LARGE  # so that the bound says something


def test_what_does_not_fit_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "announced.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "data", (10**4, 10**4, 10**4), np.float64, chunks=(1, 100, 100)
        )  # 10^12 numbers, none there
    tracemalloc.start()
    with pytest.raises(
        FileError, match=r"'data' in announced\.h5, \(10000, 10000, 10000\) float64, is 8e\+03 GB.*region"
    ):
        load_array(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    assert load_array(path, region="5, 3:19, 9000:9020").array.shape == (16, 20)
    assert load_array(path, lazy=True, frame=3).array.shape == (10**4, 10**4)


@pytest.mark.parametrize("ending", ["npz", "npy", "tif"])
def test_a_header_that_lies_is_refused(tmp_path, ending, monkeypatch):
    path = tmp_path / f"lie.{ending}"
    header = str({"descr": "<f8", "fortran_order": False, "shape": (10**4, 10**4, 10**4)}).ljust(117) + "\n"
    content_ = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode()
    if ending == "npz":
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.npy", content_)
    elif ending == "npy":
        path.write_bytes(content_)
    else:
        tifffile.imwrite(path, np.ones((32, 32), np.uint16))
        raw = bytearray(path.read_bytes())
        with tifffile.TiffFile(path) as file:
            for name in ("ImageWidth", "ImageLength"):
                tag = file.pages[0].tags[name]
                raw[tag.valueoffset : tag.valueoffset + 2] = b"\xff\xff"
        path.write_bytes(raw)
    with pytest.raises(FileError, match=rf"lie\.{ending}"):
        load_array(path)


def test_the_memory_that_is_free_is_what_counts(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((100, 100, 100)))
    np.savez(tmp_path / "a.npz", data=np.zeros((100, 100, 100)))
    monkeypatch.setattr(content, "_free_memory", lambda: 10**6)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(FileError, match=r"is 0\.008 GB, and 0\.001 GB of memory are free\. Choose a region"):
            load_array(tmp_path / name)
    assert load_array(tmp_path / "a.npy", frame=3).array.shape == (100, 100)
    with pytest.raises(FileError, match="GB"):  # decompressed as a whole
        load_array(tmp_path / "a.npz", frame=3)
    monkeypatch.undo()
    assert 1e8 < content._free_memory() < 1e14
