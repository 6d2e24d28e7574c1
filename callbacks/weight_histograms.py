"""Histograms of all weights, once an epoch, in TensorBoard; off by default, for they make the log large.

python train.py +callbacks.histograms._target_=callbacks.WeightHistograms
"""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


class WeightHistograms(Callback):
    """`weights/<name>` of every trained parameter."""

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name, weight in pl_module.named_parameters():
                    logger.experiment.add_histogram(f"weights/{name}", weight.detach(), trainer.global_step)
