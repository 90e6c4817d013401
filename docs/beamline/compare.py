"""The figures and the picture of "Train your own" in networks.md: the trained model beside the one it began with.

napari-dipr train docs/beamline/model.toml && python docs/beamline/compare.py
"""

import os
from pathlib import Path

import numpy as np
import torch

from napari_dipr.benchmarks.models import true_support
from napari_dipr.benchmarks.score import Outcome, score
from napari_dipr.measurement import Measurement
from napari_dipr.networks.propose import answer_to, support_of
from napari_dipr.networks.zoo import VARIABLE, describe_model, load_model
from napari_dipr.physics.fourier import embed_window
from napari_dipr.training import simulated
from napari_dipr.training.patterns import flawed, measure

HERE = Path(__file__).parent
SEED, COUNT = 77, 256


def main() -> None:
    """Print the figures, and show the model in the Support panel."""
    own = describe_model(str(HERE))
    assert own.training.flaws is not None
    random = torch.Generator().manual_seed(SEED)
    objects = simulated.draw(COUNT, own.network.window, own.training.variety, random)
    batch = flawed(measure(objects, own.network.grid), own.training.flaws, random)
    window = embed_window(torch.ones(own.network.window, dtype=torch.bool), own.network.grid)
    for name in ("unrolled-objects-2d", str(HERE)):
        spec = describe_model(name)
        answer = answer_to(spec, load_model(name), batch.intensities, batch.measured)
        support = support_of(answer.objects, spec.proposal, coarseness=answer.coarseness)
        figures = score([Outcome(answer.objects, support, 0)], batch.truth, window, true_support(batch.truth))
        print(spec.model.name, {key: figures[key] for key in ("nmse_mean", "support_iou")})  # noqa: T201

    os.environ[VARIABLE] = str(HERE.parent)
    from napari_dipr.ui.app import open_window
    from napari_dipr.ui.demo import wait_for

    viewer, panels = open_window()
    assert batch.measured is not None
    intensities, measured = (np.fft.fftshift(array[0].numpy()) for array in (batch.intensities, batch.measured))
    panels.session.use(Measurement.of(intensities, zero_frequency="centre", measured=measured, name="particle"))
    panels.support.propose_button.click()
    wait_for(lambda: panels.session.support is not None, "the proposal")
    viewer.screenshot(str(HERE.parent / "images" / "own-model.png"), canvas_only=False, flash=False)
    viewer.close()


if __name__ == "__main__":
    main()
