"""What Lightning, callbacks and logging add to a training step of ZFNet, batch 32 at 112 pixels.

The difference is milliseconds of a step of hundreds, less than the noise of such a step; so it is
measured with a net of next to nothing (`Feather`, whose forward and backward take microseconds),
where it is most of the time, and then divided by ZFNet's step:

    ours    train() of train.py on the composed default config (its callbacks, TensorBoard, a
            progress bar drawn as on a terminal), processor time from the end of an epoch's first
            step to the end of its last
    peer    the same steps in a loop by hand: Batches, Preprocessing, autocast, forward, backward,
            SGD
    share   (ours - peer) / ZFNet's step in that loop, all in the trainer's default precision

The loss and the top-1 and top-5 errors that ours counts and logs are a part of what it adds.

The limit is Python's speed: Lightning calls some 20 hooks of each callback and of the module at
every step, and two metrics take some 60 small tensor operations. None of it grows with the net or
the batch."""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from lightning import Callback
from omegaconf import DictConfig
from torch import Tensor, nn

from benchmarks.handwritten import training_step
from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from benchmarks.photos import in_memory
from zfnet.data.batches import Augmentation, Batches
from zfnet.data.datasets import Arrays
from zfnet.data.image_store import ImageStore, build_store
from zfnet.data.preprocessing import Preprocessing, stored_size
from zfnet.launch.malloc import keep_freed_memory
from zfnet.launch.project import config_folder
from zfnet.launch.resolvers import fast_precision, register_resolvers
from zfnet.models import convnet
from zfnet.training.fit import train

# As the default config has them
BATCH, SIZE, CLASSES, PICTURES = sized((32, 112, 12, 3000), (4, 64, 12, 12))
STEPS = PICTURES // BATCH
REAL_STEPS = sized(4, 1)


def bench() -> list[Row]:
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        store = Path(folder) / "store"
        build_store(noise("train"), store, stored_size(SIZE), workers=1)
        with (
            Worker(by_lightning, Path(folder)) as ours,
            Worker(by_hand, store, False) as peer,
            Worker(by_hand, store, True) as zfnet,
        ):
            lightning, hand, step = alternate(ours, peer, zfnet)
    return [
        Row(
            f"Lightning, callbacks and logging, of a ZFNet step of {step * 1e3:.0f} ms",
            f"{lightning * 1e3:.2f} ms",
            f"{hand * 1e3:.2f} ms by hand",
            (lightning - hand) / step,
            "<= 0.02",
        )
    ]


class Feather(nn.Module):
    """Logits are pixels times one weight; its five convolutions are there for the callbacks
    only."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.unused = nn.ModuleList(nn.Conv2d(3, 1, 1) for _ in range(5))
        self.weight = nn.Parameter(torch.ones(()))
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        return self.weight * images[:, 0, 0, : self.num_classes]


class Stopwatch(Callback):
    """Processor seconds a step, from the end of an epoch's first step to the end of its last."""

    seconds = 0.0  # of the latest epoch in this process

    def __init__(self) -> None:
        self._start = 0.0

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self._start = time.process_time()
        elif trainer.is_last_batch:
            Stopwatch.seconds = (time.process_time() - self._start) / batch_idx


def noise(split: str, **_: Any) -> Arrays:
    """Random pictures, as many as the default data set has for training, 32 for validation."""
    number, size = {"train": PICTURES, "val": BATCH}[split], stored_size(SIZE)
    images = np.random.default_rng(0).integers(0, 256, (number, size, size, 3), dtype=np.uint8)
    classes = [f"class {number}" for number in range(CLASSES)]
    return Arrays(
        "noise",
        classes,
        [str(i) for i in range(number)],
        [i % CLASSES for i in range(number)],
        images,
    )


def by_lightning(folder: Path) -> Callable[[], float]:
    """Seconds a step of the whole training program, with Feather for a net."""
    os.environ["FORCE_COLOR"] = "1"  # the bar is drawn though nobody sees it
    register_resolvers()
    runs = count()

    def epoch() -> float:
        run = folder / f"run{next(runs)}"
        run.mkdir()
        with (
            Path(os.devnull).open("w") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            train(composed(run, folder / "stores"), run)
        return Stopwatch.seconds

    return epoch


def composed(run: Path, stores: Path) -> DictConfig:
    """The default config for one epoch in folder `run`, on noise and with Feather."""
    fixed = [
        "trainer.max_epochs=1",
        "test=false",
        f"data.batch_size={BATCH}",
        f"data.image_size={SIZE}",
    ]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = compose("train", [*fixed, f"data.store_dir={stores}"], return_hydra_config=True)
    cfg.hydra.runtime.output_dir = str(run)
    HydraConfig.instance().set_config(cfg)
    cfg.data.source = {"_target_": "benchmarks.lightning_overhead.noise", "_partial_": True}
    cfg.model = {"_target_": "benchmarks.lightning_overhead.Feather", "input_norm": "unit"}
    cfg.callbacks = {
        **cfg.callbacks,
        "stopwatch": {"_target_": "benchmarks.lightning_overhead.Stopwatch"},
    }
    return cfg


def by_hand(store: Path, zfnet: bool) -> Callable[[], float]:
    """Seconds a step of the loop by hand, with ZFNet or with Feather."""
    keep_freed_memory()
    torch.manual_seed(0)
    net = convnet("zfnet", CLASSES, SIZE) if zfnet else Feather(CLASSES)
    step = training_step(
        net.to(memory_format=torch.channels_last), fast_precision() == "bf16-mixed", fused=True
    )
    images = ImageStore.open(store)
    batches = Batches(images, SIZE, BATCH, Augmentation(stored_size(SIZE), SIZE, random=True))
    prepare = Preprocessing(stored_size(SIZE), SIZE)
    prepare.set_mean(images.mean)
    steps = REAL_STEPS if zfnet else STEPS - 1

    def epoch() -> None:
        for batch, _ in zip(batches, range(steps), strict=False):
            step(prepare(batch.images, batch.rows, batch.crops), batch.labels)

    return lambda: seconds_of(epoch) / steps
