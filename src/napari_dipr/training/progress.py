"""What a training shows while it goes on: its steps and its loss, and little else."""

import logging
import warnings
from typing import Any

from lightning.pytorch.callbacks import RichProgressBar


class Bar(RichProgressBar):
    """Counts all steps of a training, those before a resumption included."""

    @property
    def total_train_batches(self) -> int:
        """How many steps the training has; Lightning's own counts those that are left."""
        return self.trainer.max_steps

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        """Return what is shown beside the bar: no version number, which a training has not."""
        return {name: value for name, value in super().get_metrics(*args).items() if name != "v_num"}

    def _get_train_description(self, current_epoch: int) -> str:
        return "steps"  # there are no epochs: every batch is drawn anew


def quiet() -> None:
    """Keep Lightning from naming the devices that are not there, other products and its own deprecations."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
