import subprocess
import sys

import pytest
import torch

from napari_dipr import device
from napari_dipr.device import available_devices, find_device, keep_freed_memory, release_memory
from napari_dipr.errors import DeviceError


def machine(monkeypatch, *, cuda=0, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("has", "kinds"),
    [
        ({}, ("cpu",)),
        ({"mps": True}, ("mps", "cpu")),
        ({"cuda": 1}, ("cuda", "cpu")),
        ({"cuda": 2, "mps": True}, ("cuda", "mps", "cpu")),
    ],
)
def test_auto_is_the_fastest_that_is_there(monkeypatch, has, kinds):
    machine(monkeypatch, **has)
    assert available_devices() == kinds
    assert find_device("auto") == torch.device(kinds[0])


def test_a_device_is_found_by_its_name_and_number(monkeypatch):
    machine(monkeypatch, cuda=2)
    assert find_device("cuda:1") == torch.device("cuda:1")
    assert find_device("cuda") == torch.device("cuda")
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["mps", "cuda:2", "cuda:x", "gpu", "", "cpu:1", "cuda:-1"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch, name):
    machine(monkeypatch, cuda=2)
    with pytest.raises(DeviceError, match=f"no device '{name}' here. Choose one of: auto, cuda, cpu"):
        find_device(name)


# In a process of its own: what is set holds for all of it.
FAULTS = """
import resource, torch
from napari_dipr.device import keep_freed_memory, release_memory

def touch():
    torch.empty(48 << 20, dtype=torch.uint8).zero_()

def count():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        touch()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

torch.set_num_threads(1)
keep_freed_memory()
count()  # until the heap is as large as aligned blocks need it
faults, kept = count(), resident()
release_memory()
print(faults, kept - resident())
"""


@pytest.mark.skipif(device._glibc() is None, reason="not glibc")
def test_freed_memory_is_kept_until_it_is_released():
    # Where the system happens to lay the heap below something else, it cannot grow in one piece: eight tries.
    for _ in range(8):
        out = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
        faults, released = map(int, out.split())
        if faults < 1000:
            break
    assert faults < 1000  # of 61440 pages that are touched
    assert released > 40 << 20


@pytest.mark.skipif(device._glibc() is None, reason="not glibc")
def test_a_thread_keeps_as_much_where_all_share_one_heap():
    script = """
import resource, threading, torch
from napari_dipr.device import keep_freed_memory, share_one_heap

def count():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(40 << 20, dtype=torch.uint8).zero_()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    keep_freed_memory()
    print(min(count() for _ in range(4)))

torch.set_num_threads(1)
if {share}:
    share_one_heap()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""

    def faults(share):
        command = [sys.executable, "-c", script.replace("{share}", str(share))]
        return min(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3))

    assert faults(True) < faults(False) / 2


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: object())
    keep_freed_memory()
    release_memory()

    def none(name):
        raise TypeError("no library")

    monkeypatch.setattr(device.ctypes, "CDLL", none)
    keep_freed_memory()
    release_memory()


def test_a_glibc_that_refuses_the_threshold_maps_nothing(monkeypatch):
    calls = []

    class Old:
        gnu_get_libc_version = None

        def malloc_trim(self, left):
            pass

        def mallopt(self, option, value):
            calls.append((option, value))
            return option != device._MMAP_THRESHOLD

    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: Old())
    keep_freed_memory()
    assert calls[-1] == (device._MMAP_MAX, 0)
