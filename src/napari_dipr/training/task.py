"""What every training is: a network, its schedule, and what it comes to."""

import math
import time
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from napari_dipr.errors import ModelError
from napari_dipr.networks.spec import Schedule
from napari_dipr.training.objects import Draw


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say which keys of nested tables differ, and how; empty where none does."""
    return ", ".join(_differing(before, now, ""))


def _differing(before: dict[str, Any], now: dict[str, Any], table: str) -> Iterator[str]:
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differing(old, new, f"{table}{key}.")
        elif old != new:
            yield f"{table}{key} (there {old}, here {new})"


class Task(lightning.LightningModule):
    """A network, and how it is trained; a subclass has the ``training_step`` and the ``figures``.

    Attributes
    ----------
    config
        Whatever the weights follow from, as plain tables: a checkpoint of another one is not gone on from.
    """

    network: nn.Module

    def __init__(self, name: str, schedule: Schedule, draw: Draw, config: dict[str, Any]) -> None:
        super().__init__()
        self.name, self.schedule, self.draw, self.config = name, schedule, draw, config
        self.began, self.seconds_before = time.monotonic(), 0.0

    def batch(self, step: int) -> tuple[Tensor, torch.Generator]:
        """Draw the objects of a step; every device of a training on several has batches of its own."""
        return self.draw(step * self.trainer.world_size + self.global_rank, self.device)

    @property
    def seconds(self) -> float:
        """Seconds of training, those before the last resumption included."""
        return self.seconds_before + time.monotonic() - self.began

    def sound(self, loss: Tensor) -> Tensor:
        """Show a step's loss and return it.

        Raises
        ------
        ModelError
            If it is not finite.
        """
        if not loss.isfinite():
            raise self.diverged(f"its loss is {float(loss.detach()):g} in step {self.global_step}")
        self.log("loss", loss, prog_bar=True)
        return loss

    def diverged(self, why: str) -> ModelError:
        """Return the error of a training whose numbers are none any more."""
        t = self.schedule
        return ModelError(
            f"The training of {self.name} diverged: {why}. No weights were written. Lower its learning_rate "
            f"({t.learning_rate:g}) or raise its warmup_steps ({t.warmup_steps}), and train again without --resume."
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the time that it took so far, and what it is a training of; what diverged replaces no checkpoint."""
        if not all(weight.isfinite().all() for weight in self.network.state_dict().values()):
            raise self.diverged(f"weights are not finite after step {self.global_step}")
        checkpoint["seconds"], checkpoint["config"] = self.seconds, self.config

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
