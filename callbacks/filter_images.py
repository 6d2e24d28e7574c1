"""The first layer's filters as an image, every epoch (Figure 6a).

Trainer(callbacks=[FilterImages("outputs/run")])
"""

from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from callbacks.tensorboard import tensorboard_writers
from zfnet.viz import filter_sheet, save_png


class FilterImages(Callback):
    """Draws the filters of the first convolution on the images' channels. A net without one has no
    such image.

    Zero is mid-gray and all filters share one scale, so that a dominant filter is visible. Logs
    `filters/layer_1` to TensorBoard and writes `filters.png`.

    Args:
        folder: where `filters.png` is written.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0:
            self._draw(trainer, pl_module)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)

    @torch.no_grad()
    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        convolutions = (m for m in pl_module.net.modules() if isinstance(m, nn.Conv2d))  # type: ignore[union-attr]
        channels: int = pl_module.prepare.channels  # type: ignore[assignment, union-attr]
        first = next((m for m in convolutions if m.weight.shape[1] == channels), None)
        if first is None:
            return
        shown = getattr(trainer.datamodule, "channels_shown", None)  # type: ignore[attr-defined]
        weight = first.weight if shown is None else first.weight[:, shown]
        sheet = filter_sheet(weight)  # (H, W, 3) uint8
        save_png(sheet, self.folder / "filters.png")
        for writer in tensorboard_writers(trainer):
            writer.add_image("filters/layer_1", sheet, trainer.global_step, dataformats="HWC")
