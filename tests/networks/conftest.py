import hashlib
import json

import pytest
import torch
from safetensors.torch import save

from napari_dipr.networks import zoo

TOML = """
[model]
name = "tiny"
purpose = "tests: 36² in a window of 18²"

[network]
grid = [36, 36]
window = [18, 18]
width = 4
levels = 2

[proposal]
median = 3

[training]
objects = "fashion-mnist"
losses = { "passive-squared" = 1.0 }
batch_size = 2
steps = 1
learning_rate = 1e-3
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of models with one in it, ``tiny``, of random weights; the only folder that is looked in."""
    monkeypatch.setattr(zoo, "FOLDERS", (tmp_path / "nowhere", tmp_path))
    zoo.load_model.cache_clear()
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.toml").write_text(TOML, encoding="utf-8")
    torch.manual_seed(0)
    network = zoo.ModelSpec.read(folder / "model.toml").network.build()
    content = save({key: value.half() for key, value in network.state_dict().items()})
    (folder / "weights.safetensors").write_bytes(content)
    (folder / "trained.json").write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest()}))
    yield tmp_path
    zoo.load_model.cache_clear()
