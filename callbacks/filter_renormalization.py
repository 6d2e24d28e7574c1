"""No first-layer filter may dominate (section 3): each filter whose rms exceeds a radius is set back to it.

    rms(w) = sqrt(mean(w²)) over (in, kh, kw);    rms > radius  →  w ·= radius / rms

    Trainer(callbacks=[FilterRenormalization(radius=0.1)])

Acts once after each optimizer step, also under gradient accumulation, on the weights' device without waiting
for it. Logs `clipped_filters/<layer>`: how many of the layer's filters a step clips, mean over the epoch.
"""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from zfnet.errors import InputError


@torch.no_grad()
def renormalize(weights: list[Tensor], radius: float) -> list[Tensor]:
    """Scales filters (out, in, kh, kw) in place to rms ≤ radius; returns how many of each weight it clipped."""
    clipped = []
    for weight in weights:
        norm = torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
        limit = radius * weight[0].numel() ** 0.5
        above = norm > limit
        clipped.append(above.sum())
        if weight.device.type != "cpu" or above.any():  # asking a GPU would mean waiting for it
            weight.mul_((limit / norm).clamp_(max=1))
    return clipped


class FilterRenormalization(Callback):
    """Keeps the filters of every convolution that is trained within `radius` (rms; the paper's 0.1)."""

    def __init__(self, radius: float = 0.1) -> None:
        if not radius > 0:
            raise InputError(f"filter_renormalization.radius={radius}: must be above 0")
        self.radius = radius
        self.layers: dict[str, nn.Conv2d] = {}
        self._clipped: list[Tensor] = []
        self._steps = self._last_step = 0

    @property
    def fingerprint(self) -> dict[str, float]:
        """What training depends on; a run that goes on must have the same."""
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
        clipped = renormalize([layer.weight for layer in self.layers.values()], self.radius)
        if self._steps:
            torch._foreach_add_(self._clipped, clipped)
        else:
            self._clipped = clipped
        self._steps += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, clipped in zip(self.layers, self._clipped, strict=False):
            pl_module.log(f"clipped_filters/{name}", clipped / self._steps, sync_dist=True)
        self._steps = 0
