"""Features of a frozen trunk, kept on the disk, against the plain forward pass alone.

ZFNet at 224 pixels up to layer 5, batches of 64, one thread. Ours begins at the image store, cuts
and prepares the pictures, and ends when the features lie in their file; the peer is the five stages
on batches that are ready."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.handwritten import zfnet
from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from zfnet.data.datasets import Arrays
from zfnet.data.image_store import ImageStore, build_store
from zfnet.data.preprocessing import Preprocessing
from zfnet.launch.malloc import keep_freed_memory
from zfnet.models import ConvNet
from zfnet.probing.feature_extraction import cached_features

BATCH, PICTURES, STORED, SIZE = sized((64, 320, 256, 224), (4, 8, 73, 64))


def bench() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(
            256, size=(PICTURES, STORED, STORED, 3), dtype=np.uint8
        )
        ids = [str(i) for i in range(PICTURES)]
        build_store(
            Arrays("noise", ["noise"], ids, [0] * PICTURES, pixels), f"{folder}/store", STORED
        )
        with Worker(kept, folder) as ours, Worker(forward) as peer:
            seconds = alternate(ours, peer, repeats=3)
    rates = [f"{PICTURES / one:.1f} images/s" for one in seconds]
    return [
        Row(
            "features of layer 5, kept",
            *rates,
            seconds[0] / seconds[1],
            "<= 1.1 of the pass without its head",
        )
    ]


def trunk() -> ConvNet:
    keep_freed_memory()
    torch.manual_seed(0)
    return zfnet(SIZE, init="he").to(memory_format=torch.channels_last).eval()


def kept(folder: str) -> Callable[[], float]:
    net, store = trunk(), ImageStore.open(f"{folder}/store")
    prepare = Preprocessing(STORED, SIZE, "unit")
    prepare.set_mean(store.mean)

    def fresh() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return seconds_of(
                partial(
                    cached_features, net, prepare, store, ["conv5"], Path(place), batch_size=BATCH
                )
            )

    return fresh


def forward() -> Callable[[], float]:
    stages = trunk()[:5]
    batches = [torch.randn(BATCH, 3, SIZE, SIZE) for _ in range(PICTURES // BATCH)]

    def passes() -> None:
        with torch.inference_mode():
            for batch in batches:
                stages(batch)

    return lambda: seconds_of(passes)
