"""FeatureEvolution at an epoch's end as a share of the epoch: ZFNet, 640 pictures of 224.

The search over the whole training set is a forward pass without the head: a third of training's
multiplications, 0.32 of them with the head left out. To that come the projections of 8 maps of each
of five layers, 1.4 s at 224 pixels whatever the number of pictures. `share=0.25`, the default of
train.py, searches a quarter of the pictures."""

import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.handwritten import EDIT
from benchmarks.measuring import Row, Worker, sized
from benchmarks.photos import in_memory
from callbacks import FeatureEvolution
from zfnet.data import ImageData
from zfnet.data.datasets import Arrays
from zfnet.data.preprocessing import stored_size
from zfnet.launch.malloc import keep_freed_memory
from zfnet.launch.resolvers import fast_precision
from zfnet.training.checkpoint import build

PICTURES, BATCH, SIZE = sized(640, 12), sized(32, 4), sized(224, 64)
CLASSES = [f"class {number}" for number in range(12)]
TARGET = "zfnet.models.convnet"
MODEL = {
    "_target_": TARGET,
    "architecture": "zfnet",
    "edit": EDIT,
    "input_norm": "unit",
    "init": "he",
}


def bench() -> list[Row]:
    rows = []
    for share, goal in ((1.0, "<= 0.4"), (0.25, "the cheaper mode")):
        with Worker(epoch_and_look, share) as worker:
            training, looking = worker()
        name = f"FeatureEvolution, share={share}"
        rows.append(
            Row(name, f"{looking:.1f} s", f"{training:.1f} s an epoch", looking / training, goal)
        )
    return rows


class Timed(FeatureEvolution):
    """Processor seconds of the epoch's steps, and of the look after it."""

    seconds = (0.0, 0.0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.process_time()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.is_last_batch:
            self._trained = time.process_time() - self._start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        start = time.process_time()
        super().on_train_epoch_end(trainer, pl_module)
        self.seconds = self._trained, time.process_time() - start


def noise(split: str) -> Arrays:
    """Random pictures."""
    count, side = {"train": PICTURES, "val": BATCH}[split], stored_size(SIZE)
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    ids = [str(number) for number in range(count)]
    return Arrays("noise", CLASSES, ids, [number % 12 for number in range(count)], images)


def epoch_and_look(share: float) -> Callable[[], tuple[float, float]]:
    """Seconds of an epoch's training, and of the look after it."""
    warnings.filterwarnings("ignore")  # Lightning's advice about loaders and loggers
    keep_freed_memory()
    card = {"model": MODEL, "classes": CLASSES, "image_size": SIZE, "store_size": stored_size(SIZE)}

    def once() -> tuple[float, float]:
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
            data = ImageData(
                partial(noise), SIZE, BATCH, str(Path(folder) / "stores"), crops="random"
            )
            callback = Timed(folder, share=share)
            quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
            trainer = Trainer(
                max_epochs=1, accelerator="cpu", precision=fast_precision(), callbacks=[callback],
                num_sanity_val_steps=0, limit_val_batches=0, enable_model_summary=False, **quiet,
            )  # fmt: skip
            trainer.fit(build(card, scheduler=CosineAnnealingLR), datamodule=data)
        return callback.seconds

    return once
