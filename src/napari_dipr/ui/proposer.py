"""First guesses of object and support: a network's, or the autocorrelation's."""

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dipr.ui.pictures import brightest
from napari_dipr.ui.worker import load_torch

if TYPE_CHECKING:
    from napari_dipr.ui.session import Session


class Proposer:
    """Makes a session's first guesses, off the main thread, and shows them."""

    def __init__(self, session: "Session") -> None:
        self.session = session

    def propose(self, model: str, device: str) -> None:
        """Let a network propose object and support; the threshold is what suits the object.

        The network's object takes the place of the run that was shown, which stays in the history.
        """
        session, measurement = self.session, self.session.need_measurement()

        def job() -> Any:
            load_torch()
            from napari_dipr.networks.propose import propose

            return propose(measurement, model, device=device)

        def done(proposal: Any) -> None:
            session.proposal = proposal
            session.refinement.take_up(None, {})
            session.pictures.remove_extras()
            self.show()
            self.show_object()
            session.show_support(proposal.support, f"model {proposal.model}")

        session.do(job, done, f"Proposing with {model}")

    def show_object(self) -> None:
        """Show the network's object where that of a run is shown."""
        x, support = self.session.proposal.object, self.session.proposal.support
        phase = np.where(support, np.angle(x), np.nan).astype(np.float32)
        self.session.pictures.show_object(np.abs(x), phase, support)

    def show(self) -> None:
        """Show the amplitude of the network's object as the first guess."""
        session = self.session
        amplitude = np.abs(session.proposal.object)
        limits = 0.0, brightest(amplitude, session.proposal.support)
        session.pictures.end_comparison()
        canvas = session.need_canvas()
        canvas.show_image("guess", amplitude, "network amplitude", colormap="gray", limits=limits)

    def rethreshold(self, threshold: float) -> None:
        """Draw the support anew from the network's output that is at hand; what was painted since stays."""
        session = self.session
        if session.proposal is None or session.refinement.state != "idle":
            return
        from napari_dipr.networks.propose import rethreshold

        proposal = session.proposal = rethreshold(session.proposal, threshold)
        if session.support is not None:
            session.agree(session.support)
        session.show_support(session.but_pinned(proposal.support), f"model {proposal.model}", session.strokes)

    def propose_autocorrelation(self) -> None:
        """Take the first support from the autocorrelation."""
        session, measurement = self.session, self.session.need_measurement()

        def job() -> Any:
            load_torch()
            from napari_dipr.physics.fourier import autocorrelation
            from napari_dipr.solvers.problem import Problem
            from napari_dipr.solvers.shrinkwrap import autocorrelation_support

            problem = Problem.of(measurement)
            modulus = np.fft.fftshift(autocorrelation(problem.amplitudes.square())[0].abs().numpy())
            return np.sqrt(modulus / modulus.max()), autocorrelation_support(problem)[0].numpy()

        def done(result: Any) -> None:
            session.proposal = None
            session.need_canvas().show_image("guess", result[0], "autocorrelation (√)", colormap="gray")
            session.show_support(result[1], "autocorrelation")

        session.do(job, done, "Autocorrelation")
