"""Keeps the filters of every trained convolution within a radius (zfnet.training.renormalization).

Trainer(callbacks=[FilterRenormalization(radius=0.1)])
"""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from zfnet.errors import InputError
from zfnet.training.renormalization import renormalize_filters


class FilterRenormalization(Callback):
    """Renormalizes filters once after each optimizer step, also under gradient accumulation.

    Logs `clipped_filters/<layer>`, the number of a layer's filters that a step clips, averaged over
    the epoch.

    Args:
        radius: the largest rms of a filter; the paper's is 0.1.

    Raises:
        InputError: the radius is not above 0.
    """

    def __init__(self, radius: float = 0.1) -> None:
        if not radius > 0:
            raise InputError(f"filter_renormalization.radius={radius}: must be above 0")
        self.radius = radius
        self.layers: dict[str, nn.Conv2d] = {}
        self._clipped: list[Tensor] = []
        self._steps = self._last_step = 0

    @property
    def fingerprint(self) -> dict[str, float]:
        """What training depends on; a resumed run must have the same."""
        return {"radius": self.radius}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "clipped": self._clipped if self._steps else []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps, self._clipped = state_dict["steps"], state_dict["clipped"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        modules = pl_module.net.named_modules()  # type: ignore[union-attr]
        self.layers = {
            name.removesuffix(".conv"): module
            for name, module in modules
            if isinstance(module, nn.Conv2d) and module.weight.requires_grad
        }

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step
        self._clipped = [count.to(pl_module.device) for count in self._clipped]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self._last_step or not self.layers:
            return  # gradients are still being accumulated
        self._last_step = trainer.global_step
        clipped = renormalize_filters([layer.weight for layer in self.layers.values()], self.radius)
        if self._steps:
            torch._foreach_add_(self._clipped, clipped)
        else:
            self._clipped = clipped
        self._steps += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, clipped in zip(self.layers, self._clipped, strict=False):
            pl_module.log(f"clipped_filters/{name}", clipped / self._steps, sync_dist=True)
        self._steps = 0
