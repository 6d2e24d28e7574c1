"""How a net learns (section 3): cross-entropy, SGD with momentum, lower steps at plateaus.

    classifier = Classifier(net, store_size=256, image_size=224, classes=names)
    Trainer(...).fit(classifier, datamodule=data)
    Classifier(net, 256, 224, names, optimizer=partial(AdamW, lr=1e-3), scheduler=warmup_cosine)

Errors are fractions: `val/top1_error`, and `val/top5_error` where there are more than five classes;
`val/class_accuracy` is the mean over the classes of the accuracy within each. Testing averages the
softmax of the paper's ten crops (`test/...`), then takes the training images at their centre crop
(`train_eval/...`). Every training step seeds torch from (seed, epoch, step, process), so that
dropout does not depend on what ran before and a resumed run repeats it."""

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
from zfnet.training.divergence import EVERY, all_finite, diverged
from zfnet.training.event_log import EventLogger
from zfnet.training.metric_states import gather_states, in_epoch, restore_states, unlogged
from zfnet.training.schedules import MONITOR, MakeScheduler, covers_run, lr_scheduler_config
from zfnet.training.trainer_options import batches_used

SGD_OF_THE_PAPER = partial(SGD, lr=0.01, momentum=0.9)
PLATEAU = partial(ReduceLROnPlateau, factor=0.1, patience=3)
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


class Classifier(LightningModule):
    """A net, what prepares its input, and how it learns.

    Args:
        net: images (B, 3, image_size, image_size) → logits (B, classes).
        store_size: side of the stored images, in pixels.
        image_size: side of the crops that the net sees, in pixels.
        classes: their names.
        input_norm: how pixels are scaled, "paper", "unit" or "pretrained" (see Preprocessing).
        model_config: written into every checkpoint, so that the net can be rebuilt from it (see
            checkpoint.py).
        optimizer: called with the parameters.
        scheduler: called with the optimizer (see schedules.py).
        seed: of dropout.
        channels_last: the memory format of net and images.
        channels: mean and deviation of the three channels for input_norm="pretrained".

    Raises:
        InputError: an unknown `input_norm`.
    """

    val_errors: MetricCollection
    ten: Tensor

    def __init__(
        self,
        net: nn.Module,
        store_size: int,
        image_size: int,
        classes: list[str],
        input_norm: str = "paper",
        model_config: dict[str, Any] | None = None,
        optimizer: MakeOptimizer = SGD_OF_THE_PAPER,
        scheduler: MakeScheduler = PLATEAU,
        seed: int = 0,
        channels_last: bool = True,
        channels: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.net, self.classes = net.to(memory_format=self.format), classes
        self.model_config = model_config
        self.prepare = Preprocessing(store_size, image_size, input_norm, *(channels or ()))
        self.make_optimizer, self.make_scheduler, self.seed = optimizer, scheduler, seed
        self.train_errors = error_metrics(len(classes), "train/")
        self.val_errors = evaluation_metrics(len(classes), "val/")
        self.test_errors = evaluation_metrics(len(classes), "test/")
        self.train_eval_errors = error_metrics(len(classes), "train_eval/")
        # Without the check for NaN, which would wait for the GPU.
        self.train_loss, self.val_loss = MeanMetric("disable"), MeanMetric("disable")
        self._seconds_before, self._start = 0.0, time.perf_counter()
        # What the numbers of the run depend on, for its checkpoints.
        self.fingerprint: dict[str, Any] | None = None
        self.validated: dict[str, float] = {}  # the latest validation's values, and its "step"
        self.has_learned = False  # read from a checkpoint, with the mean of its training images
        self.saved_step = -1  # of the latest checkpoint
        self._validate_every, self._max_steps = 1, -1  # epochs; of the trainer
        self._covered: int | None = None  # steps that the scheduler covers
        self._unlogged: dict[str, Any] | None = None  # points that a checkpoint was written before
        self.register_buffer("ten", ten_crops(store_size, image_size), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Prepared images (B, 3, image_size, image_size) → logits (B, num_classes)."""
        return self.net(inputs.contiguous(memory_format=self.format))

    def setup(self, stage: str) -> None:
        """Takes the training mean from the data module, unless the net has learned with another."""
        if stage == "fit" or not self.has_learned:
            self.prepare.set_mean(self.trainer.datamodule.images["train"].mean)  # type: ignore[attr-defined]
        if stage == "fit":
            self._check_limits()
            self._check_outputs()
            # Lightning resumes an epoch's end wrongly where it knows of max_steps by then.
            self._max_steps, self.trainer.fit_loop.epoch_loop.max_steps = self.trainer.max_steps, -1
            self._validate_every = self.trainer.check_val_every_n_epoch or 1

    def training_step(self, batch: Batch, step: int) -> Tensor:
        seed = mix(self.seed, self.current_epoch, step, self.global_rank)
        # This, because torch.manual_seed visits every backend: 3 ms a step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        loss = self._loss(batch, "train", self.train_errors, self.train_loss)
        if self.device.type == "cpu" or self.global_step % EVERY == 0:
            self._check_loss(loss)
        return loss

    def _check_loss(self, loss: Tensor) -> None:
        """All processes stop together, where one has met a loss that is not finite."""
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
        # Lightning's own mean over processes rounds their counts; MeanMetric("disable") ignores
        # weights.
        mean_loss.update(loss.detach().expand(len(batch)))
        self.log_dict(errors, on_step=False, on_epoch=True, batch_size=len(batch))
        self.log(f"{stage}/loss", mean_loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def test_step(self, batch: Batch, step: int, dataloader_idx: int = 0) -> None:
        """The paper's ten-crop test, the mean of ten softmax outputs; of a second loader the centre
        crop."""
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
        """The plateau has stepped above: Lightning would do it after an epoch's checkpoints are
        written."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def _check_limits(self) -> None:
        """Refuses shares of the data that leave no batch."""
        trainer, data = self.trainer, self.trainer.datamodule  # type: ignore[attr-defined]
        self._batches_an_epoch()
        batches_used(len(data.val_dataloader()), trainer.limit_val_batches, "limit_val_batches")
        tests = data.test_dataloader() if is_overridden("test_dataloader", data) else []
        for loader in tests if isinstance(tests, list) else [tests]:
            batches_used(len(loader), trainer.limit_test_batches, "limit_test_batches")

    def _check_outputs(self) -> None:
        """Refuses a net that gives no logits of these classes."""
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(1, 3, *[self.prepare.crop] * 2, generator=generator)
        check_logits(self.net, image.to(self.device), len(self.classes))

    def _batches_an_epoch(self) -> int:
        trainer = self.trainer
        batches = len(trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
        return batches_used(batches, trainer.limit_train_batches, "limit_train_batches")

    def _total_steps(self) -> int:
        """Optimizer steps of the whole run. Lightning's own estimate sets the loader up before a
        resumed run's position in the epoch is restored, which then is lost."""
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
        """What training has taken so far, in this process and in those it goes on from."""
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
        # Version 0.1 wrote none of the following.
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
        """What counts over an epoch of training."""
        return {"loss": self.train_loss, **dict(self.train_errors.items(keep_base=True))}

    def _covered_steps(self) -> int | None:
        """Optimizer steps of the whole run, where the scheduler covers them."""
        return self._total_steps() if covers_run(self.make_scheduler) else None

    def configure_optimizers(self) -> Any:
        try:
            optimizer = self.make_optimizer(self.parameters())
            self._covered = self._covered_steps()
            how = self.make_scheduler, optimizer, self._covered, self._validate_every
            return {"optimizer": optimizer, "lr_scheduler": lr_scheduler_config(*how)}
        except (TypeError, ValueError) as error:
            raise InputError(f"optimizer or scheduler: {one_line(error)}") from error
