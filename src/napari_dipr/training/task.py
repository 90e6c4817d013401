"""What every training is: a network, its schedule, and what it comes to."""

import math
import time
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from napari_dipr.networks.spec import Schedule
from napari_dipr.training.objects import Draw


class Task(lightning.LightningModule):
    """A network, and how it is trained; a subclass has the ``training_step`` and the ``figures``."""

    network: nn.Module

    def __init__(self, name: str, schedule: Schedule, draw: Draw) -> None:
        super().__init__()
        self.name, self.schedule, self.draw = name, schedule, draw
        self.began, self.seconds_before = time.monotonic(), 0.0

    def batch(self, step: int) -> tuple[Tensor, torch.Generator]:
        """Draw the objects of a step; every device of a training on several has batches of its own."""
        return self.draw(step * self.trainer.world_size + self.global_rank, self.device)

    @property
    def seconds(self) -> float:
        """Seconds of training, those before the last resumption included."""
        return self.seconds_before + time.monotonic() - self.began

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the time that it took so far."""
        checkpoint["seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        self.seconds_before = checkpoint.get("seconds", 0.0)

    def figures(self) -> dict[str, Any]:
        """Return what the network comes to on objects that no training sees, and what else is to be told of it."""
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        """AdamW; linear warm-up, then half a cosine to zero."""
        t = self.schedule
        optimizer = torch.optim.AdamW(self.parameters(), lr=t.learning_rate, weight_decay=t.weight_decay)

        def rate(step: int) -> float:
            warmup = min(1.0, (step + 1) / (t.warmup_steps + 1))
            # In Python's own numbers: the rate is kept in checkpoints, which admit nothing of numpy's.
            return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, step / t.steps)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
