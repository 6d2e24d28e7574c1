"""Training as in section 3: cross-entropy, SGD with momentum, and a lower rate at plateaus.

    classifier = Classifier(net, store_size=256, image_size=224, classes=names)
    Trainer(...).fit(classifier, datamodule=data)
    Classifier(net, 256, 224, names, optimizer=partial(AdamW, lr=1e-3), scheduler=warmup_cosine)

Errors are fractions: `val/top1_error`, and `val/top5_error` for more than five classes.
`val/class_accuracy` is the mean of the accuracies of the classes. Testing averages the softmax over
the paper's ten crops (`test/...`). It then measures the training images at their center crop
(`train_eval/...`). Each training step seeds torch from (seed, epoch, step, process). Dropout
therefore does not depend on earlier steps, and a resumed run repeats it.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric, MetricCollection

from zfnet.data.batches import Batch, mix
from zfnet.data.preprocessing import Preprocessing, ten_crops
from zfnet.errors import InputError, one_line
from zfnet.metrics import error_metrics, evaluation_metrics
from zfnet.models.outputs import check_logits
from zfnet.sizes import Size, sides
from zfnet.training.divergence import EVERY, all_finite, diverged
from zfnet.training.event_log import EventLogger
from zfnet.training.fused import use_fused
from zfnet.training.metric_states import gather_states, in_epoch, restore_states, unlogged
from zfnet.training.schedules import MONITOR, MakeScheduler, covers_run, lr_scheduler_config
from zfnet.training.trainer_options import batches_used

SGD_OF_THE_PAPER = partial(SGD, lr=0.01, momentum=0.9)
PLATEAU = partial(ReduceLROnPlateau, factor=0.1, patience=3)
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


class Classifier(LightningModule):
    """A network with its preprocessing, optimizer and scheduler.

    Args:
        net: maps images (B, image_channels, H, W) to logits (B, classes).
        store_size: of the stored images, in pixels: a side, or (height, width).
        image_size: of the crops that the network takes, in pixels.
        classes: the names of the classes.
        input_norm: how pixels are scaled: "paper", "unit" or "pretrained" (see Preprocessing).
        model_config: written to every checkpoint, so that the network can be rebuilt from it (see
            checkpoint.py).
        optimizer: called with the parameters.
        scheduler: called with the optimizer (see schedules.py).
        seed: the seed of dropout.
        channels_last: whether the network and the images use the channels-last memory format.
        channels: mean and standard deviation of each channel for input_norm="pretrained".
        image_channels: the number of channels of the images.

    Raises:
        InputError: if `input_norm` is unknown.
    """

    val_errors: MetricCollection
    ten: Tensor

    def __init__(
        self,
        net: nn.Module,
        store_size: Size,
        image_size: Size,
        classes: list[str],
        input_norm: str = "paper",
        model_config: dict[str, Any] | None = None,
        optimizer: MakeOptimizer = SGD_OF_THE_PAPER,
        scheduler: MakeScheduler = PLATEAU,
        seed: int = 0,
        channels_last: bool = True,
        channels: tuple[Sequence[float], Sequence[float]] | None = None,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.net, self.classes = net.to(memory_format=self.format), classes
        self.model_config = model_config
        moments = (
            {} if channels is None else {"channel_mean": channels[0], "channel_std": channels[1]}
        )
        self.prepare = Preprocessing(
            store_size, image_size, input_norm, channels=image_channels, **moments
        )
        self.make_optimizer, self.make_scheduler, self.seed = optimizer, scheduler, seed
        self.train_errors = error_metrics(len(classes), "train/")
        self.val_errors = evaluation_metrics(len(classes), "val/")
        self.test_errors = evaluation_metrics(len(classes), "test/")
        self.train_eval_errors = error_metrics(len(classes), "train_eval/")
        # "disable" turns off the check for NaN, which would synchronize with the GPU.
        self.train_loss, self.val_loss = MeanMetric("disable"), MeanMetric("disable")
        self._seconds_before, self._start = 0.0, time.perf_counter()
        # The settings that change the results of the run; written to its checkpoints.
        self.fingerprint: dict[str, Any] | None = None
        self.validated: dict[str, float] = {}  # metrics of the latest validation, and its "step"
        self.has_learned = False  # whether weights and mean image come from a checkpoint
        self.saved_step = -1  # the optimizer step of the latest checkpoint
        self._validate_every, self._max_steps = 1, -1  # in epochs; max_steps of the trainer
        self._covered: int | None = None  # the number of steps that the scheduler covers
        self._unlogged: dict[str, Any] | None = None  # metrics to log after loading a checkpoint
        self.register_buffer("ten", ten_crops(store_size, image_size), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Computes logits.

        Args:
            inputs: preprocessed images, (B, C, H, W).

        Returns:
            The logits, (B, classes).
        """
        return self.net(inputs.contiguous(memory_format=self.format))

    def setup(self, stage: str) -> None:
        """Checks the run, and takes the mean image from the data module.

        A trained network keeps its own mean image, except in training.
        """
        if stage == "fit" or not self.has_learned:
            self.prepare.set_mean(self.trainer.datamodule.images["train"].mean)  # type: ignore[attr-defined]
        if stage == "fit":
            self._check_limits()
            self._check_outputs()
            # Lightning resumes incorrectly at the end of an epoch if max_steps is set before the
            # checkpoint is loaded. `on_train_start` restores it.
            self._max_steps, self.trainer.fit_loop.epoch_loop.max_steps = self.trainer.max_steps, -1
            self._validate_every = self.trainer.check_val_every_n_epoch or 1

    def training_step(self, batch: Batch, step: int) -> Tensor:
        """Computes the loss of a batch. Seeds dropout first."""
        seed = mix(self.seed, self.current_epoch, step, self.global_rank)
        # torch.manual_seed would seed every backend, which takes 3 ms per step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        loss = self._loss(batch, "train", self.train_errors, self.train_loss)
        if self.device.type == "cpu" or self.global_step % EVERY == 0:
            self._check_loss(loss)
        return loss

    def _check_loss(self, loss: Tensor) -> None:
        """Stops all processes if the loss of any process is not finite."""
        bad = (~torch.isfinite(loss.detach())).float()
        if self.trainer.world_size > 1:
            bad = self.trainer.strategy.reduce(bad, reduce_op="sum")
        if bad.item():
            whose = "the loss" if not math.isfinite(loss.item()) else "another process's loss"
            raise diverged(f"{whose} is not finite", self.current_epoch + 1, self.global_step + 1)

    def validation_step(self, batch: Batch, step: int) -> None:
        self._loss(batch, "val", self.val_errors, self.val_loss)

    def _loss(
        self, batch: Batch, stage: str, errors: MetricCollection, mean_loss: MeanMetric
    ) -> Tensor:
        logits = self(self.prepare(batch.images, batch.rows, batch.crops))
        loss = F.cross_entropy(logits, batch.labels)
        errors.update(logits.detach(), batch.labels)
        # Lightning's own mean over processes rounds the counts, and MeanMetric("disable") ignores
        # weights. Therefore the loss is counted once per image.
        mean_loss.update(loss.detach().expand(len(batch)))
        self.log_dict(errors, on_step=False, on_epoch=True, batch_size=len(batch))
        self.log(f"{stage}/loss", mean_loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def test_step(self, batch: Batch, step: int, dataloader_idx: int = 0) -> None:
        """Updates the metrics of ten-crop testing, or of the center crop for the second loader.

        The ten-crop output is the mean of ten softmax outputs.
        """
        if dataloader_idx:
            logits = self(self.prepare(batch.images, batch.rows, batch.crops))
            self.train_eval_errors.update(logits, batch.labels)
            self.log_dict(self.train_eval_errors, batch_size=len(batch), add_dataloader_idx=False)
            return
        count = len(batch)
        rows, crops = batch.rows.repeat_interleave(10), self.ten.repeat(count, 1)
        logits = self(self.prepare(batch.images, rows, crops))  # (10 B, classes)
        self.test_errors.update(logits.softmax(1).view(count, 10, -1).mean(1), batch.labels)
        self.log_dict(self.test_errors, batch_size=count, add_dataloader_idx=False)

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:
            return
        values = {**self.val_errors.compute(), "val/loss": self.val_loss.compute()}
        self.validated = {key: value.item() for key, value in values.items()} | {
            "step": self.global_step
        }
        if not math.isfinite(self.validated["val/loss"]):
            raise diverged(
                "the validation loss is not finite", self.current_epoch + 1, self.global_step
            )
        scheduler = self.lr_schedulers() if self.trainer.state.fn == TrainerFn.FITTING else None
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(values[MONITOR])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Steps the scheduler, except ReduceLROnPlateau.

        That one steps in `on_validation_epoch_end`, because Lightning would step it only after the
        checkpoints of the epoch are written.
        """
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def _check_limits(self) -> None:
        """Raises InputError if the limits of the trainer leave no batch of a split."""
        trainer, data = self.trainer, self.trainer.datamodule  # type: ignore[attr-defined]
        self._batches_an_epoch()
        batches_used(len(data.val_dataloader()), trainer.limit_val_batches, "limit_val_batches")
        tests = data.test_dataloader() if is_overridden("test_dataloader", data) else []
        for loader in tests if isinstance(tests, list) else [tests]:
            batches_used(len(loader), trainer.limit_test_batches, "limit_test_batches")

    def _check_outputs(self) -> None:
        """Raises InputError if the network does not return logits of the classes."""
        generator = torch.Generator().manual_seed(0)
        shape = (1, self.prepare.channels, *sides(self.prepare.crop))
        image = torch.randn(shape, generator=generator)
        check_logits(self.net, image.to(self.device), len(self.classes))

    def _batches_an_epoch(self) -> int:
        trainer = self.trainer
        batches = len(trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
        return batches_used(batches, trainer.limit_train_batches, "limit_train_batches")

    def _total_steps(self) -> int:
        """Returns the number of optimizer steps of the run.

        Lightning's own estimate would set up the data loader before a resumed run restores its
        position within the epoch, and the position would be lost.
        """
        trainer = self.trainer
        steps = math.ceil(self._batches_an_epoch() / trainer.accumulate_grad_batches)
        ends = [self._max_steps] if self._max_steps >= 0 else []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            ends.append(trainer.max_epochs * steps)
        if not ends:
            raise InputError("the scheduler covers the whole run: give trainer.max_epochs")
        return min(ends)

    @property
    def seconds(self) -> float:
        """The training time so far in seconds, including that before the run was resumed."""
        return self._seconds_before + time.perf_counter() - self._start

    def on_fit_start(self) -> None:
        self._start = time.perf_counter()
        for logger in self.loggers if self._unlogged else []:
            logger.log_metrics(**self._unlogged)  # type: ignore[arg-type]

    def on_train_start(self) -> None:
        self.trainer.fit_loop.epoch_loop.max_steps = self._max_steps

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if not all_finite([checkpoint["state_dict"], checkpoint.get("optimizer_states")]):
            raise diverged("the weights are not finite", self.current_epoch + 1, self.global_step)
        checkpoint |= {
            "model_config": self.model_config,
            "seconds": self.seconds,
            "validated": self.validated,
        }
        checkpoint["total_steps"] = self._covered
        checkpoint["metrics"] = gather_states(self._counting()) if in_epoch(self.trainer) else None
        checkpoint["log"] = {"unlogged": unlogged(self.trainer)}
        for logger in self.loggers:
            if isinstance(logger, EventLogger):
                checkpoint["log"]["lengths"] = logger.lengths()
        if self.fingerprint is not None:
            checkpoint["fingerprint"] = self.fingerprint
        self.saved_step = self.global_step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Version 0.1 wrote no "seconds", "validated", "metrics" or "log".
        self._seconds_before = checkpoint.get("seconds", 0.0)
        self.validated = dict(checkpoint.get("validated", {}))
        self.saved_step = checkpoint["global_step"]
        if states := checkpoint.get("metrics"):
            restore_states(self._counting(), states)
        self._unlogged = checkpoint.get("log", {}).get("unlogged")
        if checkpoint["lr_schedulers"]:
            before = checkpoint.get("total_steps", checkpoint["lr_schedulers"][0].get("T_max"))
            if before not in (None, covered := self._covered_steps()):
                raise InputError(
                    f"the checkpoint's learning rate is for a run of {before} steps, and this run "
                    f"has {covered}; "
                    "give another name= for a new run"
                )

    def _counting(self) -> dict[str, Metric]:
        """Returns the metrics that accumulate over an epoch of training."""
        return {"loss": self.train_loss, **dict(self.train_errors.items(keep_base=True))}

    def _covered_steps(self) -> int | None:
        """Returns the number of steps of the run if the scheduler covers it, else None."""
        return self._total_steps() if covers_run(self.make_scheduler) else None

    def configure_optimizers(self) -> Any:
        try:
            optimizer = use_fused(self.make_optimizer(self.parameters()))
            self._covered = self._covered_steps()
            how = self.make_scheduler, optimizer, self._covered, self._validate_every
            return {"optimizer": optimizer, "lr_scheduler": lr_scheduler_config(*how)}
        except (TypeError, ValueError) as error:
            raise InputError(f"optimizer or scheduler: {one_line(error)}") from error
