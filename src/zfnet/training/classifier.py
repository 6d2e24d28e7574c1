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
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from zfnet.data.batches import Batch, mix
from zfnet.data.preprocessing import Preprocessing, ten_crops
from zfnet.errors import InputError

SCHEDULES = ("plateau", "cosine")


class TopKError(MulticlassAccuracy):
    """The share of pictures whose true class is not among the k most probable ones."""

    def __init__(self, num_classes: int, k: int) -> None:
        super().__init__(num_classes, top_k=k, average="micro", validate_args=False)

    def compute(self) -> Tensor:
        return 1 - super().compute()


class ClassAccuracy(MulticlassAccuracy):
    """The mean, over the classes that the pictures have, of the share of a class's pictures that is right."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="macro", validate_args=False)

    def compute(self) -> Tensor:
        right, missed = torch.as_tensor(self.tp), torch.as_tensor(self.fn)  # (classes,) each
        count = right + missed
        return (right / count)[count > 0].mean()


def error_metrics(num_classes: int, prefix: str) -> MetricCollection:
    """The paper's top-1 error, and top-5 where it says anything."""
    errors = {f"top{k}_error": TopKError(num_classes, k) for k in (1, 5) if k == 1 or num_classes > k}
    return MetricCollection(errors, prefix=prefix, compute_groups=False)  # type: ignore[arg-type]


def evaluation_metrics(num_classes: int, prefix: str) -> MetricCollection:
    """Errors and class accuracy."""
    metrics = error_metrics(num_classes, prefix)
    metrics.add_metrics({"class_accuracy": ClassAccuracy(num_classes)})
    return metrics


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
        if not lr > 0:
            raise InputError(f"recipe.lr={lr}: must be above 0")
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
        self.register_buffer("ten", ten_crops(store_size, image_size), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Prepared pictures (B, 3, image_size, image_size) → logits (B, num_classes)."""
        return self.net(inputs.contiguous(memory_format=self.format))

    def setup(self, stage: str) -> None:
        """Takes the training mean from the data module."""
        self.prepare.set_mean(self.trainer.datamodule.images["train"].mean)  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, step: int) -> Tensor:
        seed = mix(self.seed, self.current_epoch, step, self.global_rank)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed visits every backend: 3 ms a step
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        return self._loss(batch, "train", self.train_errors, self.train_loss)

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
        fitting = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        if self.schedule == "plateau" and fitting:
            error = self.val_errors.compute()["val/top1_error"]
            self.lr_schedulers().step(error)  # type: ignore[union-attr]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """The plateau has stepped above: Lightning would do it after an epoch's checkpoints are written."""
        if self.schedule != "plateau":
            super().lr_scheduler_step(scheduler, metric)

    def _total_steps(self) -> int:
        """Optimizer steps of the whole run. Lightning's own estimate sets the loader up before a resumed run's
        position in the epoch is restored, which then is lost."""
        trainer = self.trainer
        if trainer.max_epochs is None or trainer.max_epochs < 0:
            raise InputError("recipe.schedule=cosine ends with the run: give trainer.max_epochs")
        batches = len(trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
        return trainer.max_epochs * math.ceil(batches / trainer.accumulate_grad_batches)

    @property
    def seconds(self) -> float:
        """What training has taken so far, in this process and in those it goes on from."""
        return self._seconds_before + time.perf_counter() - self._start

    def on_fit_start(self) -> None:
        self._start = time.perf_counter()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["card"], checkpoint["seconds"] = self.card, self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._seconds_before = checkpoint.get("seconds", 0.0)  # none in those of version 0.1

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        if self.schedule == "cosine":
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self._total_steps())
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=self.patience)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val/top1_error"}}
