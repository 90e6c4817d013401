import json

import numpy as np
import torch
from typer.testing import CliRunner

from napari_dipr.benchmarks.cli import app
from napari_dipr.benchmarks.verdict import FAMILIES, KINDS, make, verdicts
from napari_dipr.physics.symmetry import nmse


def test_verdicts_are_counted_by_class_and_the_same_each_time(tmp_path):
    told = []
    found = verdicts(1, 0, lambda kind, done: told.append((kind, done)))
    assert told == [(kind, i) for i, kind in enumerate(KINDS, 1)]
    for kind in KINDS:
        assert sum(found["confusion"][kind].values()) == 1
    assert found["right"] == sum(found["confusion"][kind][kind] for kind in KINDS) / len(KINDS)
    assert found["wrong_agree"] == 0
    again = make(KINDS[0], 0, 0)
    assert float(nmse(again.ensemble.consensus.mean[None], again.truth[None])[0]) == found["cases"][0]["nmse"]
    file = tmp_path / "verdicts.json"
    said = CliRunner().invoke(app, ["verdict", "--each", "1", "--seed", "0", "--json", str(file)])
    assert said.exit_code == 0
    assert f"{found['right']:.0%} right" in said.output
    assert json.loads(file.read_text())["confusion"] == found["confusion"]


def test_both_families_have_the_measured_pattern_and_are_not_alike():
    case = make(FAMILIES, 0, 0)
    near = [case.ensemble.objects[i] for i in (0, -1)]
    for x in near:
        f = torch.fft.fft2(x.to(torch.complex128)).abs().numpy()
        amplitudes = case.measurement.cornered_amplitudes()
        assert np.square(f - amplitudes).sum() / np.square(amplitudes).sum() < 1e-3
    assert float(nmse(near[0][None], near[1][None])[0]) > 0.3
