"""The first layer's filters as one picture an epoch in TensorBoard, and as `filters.png` in the run's folder.

    Trainer(callbacks=[FilterImages("outputs/run")])

Zero is mid-grey and all filters share one scale, so that a dominant filter is seen to dominate (Figure 6a).
"""

from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from zfnet.viz import filter_sheet, save_png


class FilterImages(Callback):
    """Draws the filters of the first convolution that sees colour; does nothing for nets without one."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    @staticmethod
    def _filters(pl_module: LightningModule) -> Tensor | None:
        modules = pl_module.net.modules()  # type: ignore[union-attr]
        return next((m.weight for m in modules if isinstance(m, nn.Conv2d) and m.weight.shape[1] == 3), None)

    @torch.no_grad()
    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        filters = self._filters(pl_module)
        if filters is None:
            return
        sheet = filter_sheet(filters)  # (H, W, 3) uint8
        save_png(sheet, self.folder / "filters.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("filters/layer_1", sheet, trainer.global_step, dataformats="HWC")

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0:
            self._draw(trainer, pl_module)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)
