import pytest
import torch

from napari_dipr.device import available_devices, find_device
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
