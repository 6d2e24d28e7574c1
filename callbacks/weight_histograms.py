"""Histograms of all weights, once an epoch, in TensorBoard.

Off by default, because they make the log large.

    python train.py +callbacks.histograms._target_=callbacks.WeightHistograms
"""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from callbacks.tensorboard import tensorboard_writers


class WeightHistograms(Callback):
    """Logs `weights/<name>` of every trained parameter."""

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for writer in tensorboard_writers(trainer):
            for name, weight in pl_module.named_parameters():
                writer.add_histogram(f"weights/{name}", weight.detach(), trainer.global_step)
