"""How a net learns (section 3): cross-entropy, SGD with momentum, lower steps when validation stalls.

    classifier = Classifier(net, store_size=256, image_size=224, classes=names)
    Trainer(...).fit(classifier, datamodule=data)

Errors are fractions: `val/top1_error`, and `val/top5_error` where there are more than five classes;
`val/class_accuracy` is the mean over the classes of the accuracy within each. Testing averages the softmax of
the paper's ten crops (`test/...`), then takes the training pictures at their centre crop (`trained/...`).
Every training step seeds torch from (seed, epoch, step, process), so that dropout does not depend on what ran
before and a resumed run repeats it.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric, MetricCollection

from zfnet.data.batches import Batch, mix
from zfnet.data.preprocessing import Preprocessing, ten_crops
from zfnet.errors import InputError
from zfnet.metrics import error_metrics, evaluation_metrics
from zfnet.models.outputs import check_logits
from zfnet.training.divergence import EVERY, all_finite, diverged
from zfnet.training.event_log import EventLogger
from zfnet.training.metric_states import gather_states, in_epoch, restore_states, unlogged
from zfnet.training.trainer_options import batches_used

SCHEDULES = ("plateau", "cosine")


class Classifier(LightningModule):
    """A net, what prepares its input, and how it learns.

    `schedule` is "plateau" (the rate divided by 10 after more than `patience` epochs without a lower validation
    error) or "cosine" (from `lr` to 0 over the run). `card` (see checkpoint.py) is written into every checkpoint, so
    that a net can be rebuilt from it. `channels` are the mean and deviation of pixels="torchvision". Raises
    InputError on an unknown schedule or pixel convention.
    """

    val_errors: MetricCollection
    ten: Tensor

    def __init__(
        self,
        net: nn.Module,
        store_size: int,
        image_size: int,
        classes: list[str],
        pixels: str = "paper",
        card: dict[str, Any] | None = None,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        schedule: str = "plateau",
        patience: int = 3,
        seed: int = 0,
        channels_last: bool = True,
        channels: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        if schedule not in SCHEDULES:
            raise InputError(f"recipe.schedule={schedule!r} is unknown: choose one of {', '.join(SCHEDULES)}")
        if not 0 < lr < math.inf:
            raise InputError(f"recipe.lr={lr}: must be above 0 and finite")
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.net, self.classes, self.card = net.to(memory_format=self.format), classes, card
        self.prepare = Preprocessing(store_size, image_size, pixels, *(channels or ()))
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.schedule, self.patience, self.seed = schedule, patience, seed
        self.train_errors = error_metrics(len(classes), "train/")
        self.val_errors = evaluation_metrics(len(classes), "val/")
        self.test_errors = evaluation_metrics(len(classes), "test/")
        self.trained_errors = error_metrics(len(classes), "trained/")
        self.train_loss, self.val_loss = MeanMetric("disable"), MeanMetric("disable")  # no wait for the GPU
        self._seconds_before, self._start = 0.0, time.perf_counter()
        self.fingerprint: dict[str, Any] | None = (
            None  # what the run's numbers depend on, for its checkpoints
        )
        self.validated: dict[str, float] = {}  # the latest validation's values, and its "step"
        self.saved_step = -1  # of the latest checkpoint
        self._validate_every, self._max_steps = 1, -1  # epochs; of the trainer
        self._unlogged: dict[str, Any] | None = None  # points that a checkpoint was written before
        self.register_buffer("ten", ten_crops(store_size, image_size), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Prepared pictures (B, 3, image_size, image_size) → logits (B, num_classes)."""
        return self.net(inputs.contiguous(memory_format=self.format))

    def setup(self, stage: str) -> None:
        """Takes the training mean from the data module."""
        self.prepare.set_mean(self.trainer.datamodule.images["train"].mean)  # type: ignore[attr-defined]
        if stage == "fit":
            self._check_limits()
            self._check_outputs()
            # Lightning resumes an epoch's end wrongly where it knows of max_steps by then.
            self._max_steps, self.trainer.fit_loop.epoch_loop.max_steps = self.trainer.max_steps, -1
            self._validate_every = self.trainer.check_val_every_n_epoch or 1

    def training_step(self, batch: Batch, step: int) -> Tensor:
        seed = mix(self.seed, self.current_epoch, step, self.global_rank)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed visits every backend: 3 ms a step
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

    def _loss(self, batch: Batch, stage: str, errors: MetricCollection, mean_loss: MeanMetric) -> Tensor:
        logits = self(self.prepare(batch.images, batch.rows, batch.crops))
        loss = F.cross_entropy(logits, batch.labels)
        errors.update(logits.detach(), batch.labels)
        # Lightning's own mean over processes rounds their counts; MeanMetric("disable") ignores weights.
        mean_loss.update(loss.detach().expand(len(batch)))
        self.log_dict(errors, on_step=False, on_epoch=True, batch_size=len(batch))
        self.log(f"{stage}/loss", mean_loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def test_step(self, batch: Batch, step: int, dataloader_idx: int = 0) -> None:
        """The paper's ten-crop test, the mean of ten softmax outputs; of a second loader the centre crop."""
        if dataloader_idx:
            logits = self(self.prepare(batch.images, batch.rows, batch.crops))
            self.trained_errors.update(logits, batch.labels)
            self.log_dict(self.trained_errors, batch_size=len(batch), add_dataloader_idx=False)
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
        self.validated = {key: value.item() for key, value in values.items()} | {"step": self.global_step}
        if not math.isfinite(self.validated["val/loss"]):
            raise diverged("the validation loss is not finite", self.current_epoch + 1, self.global_step)
        if self.schedule == "plateau" and self.trainer.state.fn == TrainerFn.FITTING:
            self.lr_schedulers().step(values["val/top1_error"])  # type: ignore[union-attr]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """The plateau has stepped above: Lightning would do it after an epoch's checkpoints are written."""
        if self.schedule != "plateau":
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
        """Optimizer steps of the whole run. Lightning's own estimate sets the loader up before a resumed run's
        position in the epoch is restored, which then is lost."""
        trainer = self.trainer
        steps = math.ceil(self._batches_an_epoch() / trainer.accumulate_grad_batches)
        ends = [self._max_steps] if self._max_steps >= 0 else []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            ends.append(trainer.max_epochs * steps)
        if not ends:
            raise InputError("recipe.schedule=cosine ends with the run: give trainer.max_epochs")
        return min(ends)

    @property
    def seconds(self) -> float:
        """What training has taken so far, in this process and in those it goes on from."""
        return self._seconds_before + time.perf_counter() - self._start

    def on_fit_start(self) -> None:
        self._start = time.perf_counter()
        if self._unlogged and self.logger:
            self.logger.log_metrics(**self._unlogged)

    def on_train_start(self) -> None:
        self.trainer.fit_loop.epoch_loop.max_steps = self._max_steps

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if not all_finite([checkpoint["state_dict"], checkpoint.get("optimizer_states")]):
            raise diverged("the weights are not finite", self.current_epoch + 1, self.global_step)
        checkpoint |= {"card": self.card, "seconds": self.seconds, "validated": self.validated}
        checkpoint["metrics"] = gather_states(self._counting()) if in_epoch(self.trainer) else None
        checkpoint["log"] = {"unlogged": unlogged(self.trainer)}
        if isinstance(self.logger, EventLogger):
            checkpoint["log"]["lengths"] = self.logger.lengths()
        if self.fingerprint is not None:
            checkpoint["fingerprint"] = self.fingerprint
        self.saved_step = self.global_step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._seconds_before = checkpoint.get(
            "seconds", 0.0
        )  # none in those of version 0.1, nor what follows
        self.validated = dict(checkpoint.get("validated", {}))
        self.saved_step = checkpoint["global_step"]
        if states := checkpoint.get("metrics"):
            restore_states(self._counting(), states)
        self._unlogged = checkpoint.get("log", {}).get("unlogged")
        if self.schedule == "cosine" and checkpoint["lr_schedulers"]:
            self._check_end(checkpoint["lr_schedulers"][0].get("T_max"))

    def _counting(self) -> dict[str, Metric]:
        """What counts over an epoch of training."""
        return {"loss": self.train_loss, **dict(self.train_errors.items(keep_base=True))}

    def _check_end(self, kept: int | None) -> None:
        """A cosine over another number of steps would fall to 0 and rise again."""
        if kept is not None and kept != self._total_steps():
            raise InputError(
                f"recipe.schedule=cosine: the checkpoint's rate falls to 0 at step {kept}, and this run has "
                f"{self._total_steps()} steps; give another name= for a new run"
            )

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        if self.schedule == "cosine":
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self._total_steps())
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
        patience = self.patience // self._validate_every  # of validations
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=patience)
        words = {"monitor": "val/top1_error", "frequency": self._validate_every}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, **words}}
