"""What all tests share.

Most need no data but what the package ships. Tests on measured patterns look for them in the folder that the
environment variable ``NAPARI_DIPR_DATA`` names (it holds ``scan54`` and others), and are skipped without it.
"""

import math
import os
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
import torch

# The tensors are small: threads would only wait for each other, all the more beside another job.
torch.set_num_threads(1)

# What is slow is seen in the durations; a busy machine must not fail a test.
hypothesis.settings.register_profile("default", deadline=None, max_examples=40)
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="session", autouse=True)
def a_cache_of_their_own(tmp_path_factory) -> None:
    """Keep no run in a person's cache, and find none there."""
    os.environ["NAPARI_DIPR_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def measured_data() -> Path:
    folder = os.environ.get("NAPARI_DIPR_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NAPARI_DIPR_DATA does not name a folder of measured patterns")
    return Path(folder)


@pytest.fixture
def diverging(monkeypatch):
    """Have starts of these numbers begin, and so end, with what is not finite."""
    from napari_dipr.ensembles.starts import Starts

    def make(*numbers):
        honest = Starts.start

        def start(self, problem, number):
            begun = honest(self, problem, number)
            return replace(begun, object=begun.object * math.nan) if number in numbers else begun

        monkeypatch.setattr(Starts, "start", start)

    return make


@pytest.fixture
def settings_of_its_own(plugin_settings, npe2pm):
    """Have napari know its own and this plugin alone, with neither a person's settings nor those of another test."""
    from npe2 import PluginManifest

    for name in ("napari", "napari-dipr"):
        npe2pm.register(PluginManifest.from_distribution(name))
