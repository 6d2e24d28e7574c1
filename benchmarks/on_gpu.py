"""Training, search, occlusion and projections on one GPU: `python -m benchmarks.on_gpu`.

Times are wall-clock, with an empty queue at both ends; medians of three, both sides in turn.

    training    ZFNet in bf16 by Lightning, with renormalization of filters, from a store in memory:
                every image is cropped, copied and counted. The peer is Figure 3 in plain PyTorch,
                in channels_last and bf16, on one batch that lies on the GPU.
    top 9       of all channels of conv1-5, against the forward pass; images lie on the GPU
    occlusion   529 positions against captum's Occlusion, 64 at a time
    projection  of one unit of each channel (of some, for captum) against NeuronDeconvolution"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from captum.attr import NeuronDeconvolution, Occlusion
from lightning import Callback, LightningDataModule, Trainer
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.handwritten import by_hand
from benchmarks.measuring import Row
from callbacks import FilterRenormalization
from zfnet.analysis.occlusion.sweep import occlusion_sweep
from zfnet.data.batches import Augmentation, Batches
from zfnet.data.image_store import ImageStore
from zfnet.deconv import Deconvnet, Unit, top_activations
from zfnet.models import ConvNet, convnet
from zfnet.training.classifier import Classifier
from zfnet.training.peak import operations_per_image, peak_rate

LAYERS = [f"conv{number}" for number in range(1, 6)]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    side: int = 224
    stored: int = 256
    images: int = 8192
    batches: tuple[int, ...] = (128, 1024)
    search: int = 1024  # images
    square: int = 50
    units: int = 16  # that captum projects
    repeats: int = 3
    edit: dict[str, Any] = field(default_factory=dict)  # of the architecture


class Synthetic(LightningDataModule):
    """Random images in memory."""

    def __init__(self, sizes: Sizes, batch: int) -> None:
        super().__init__()
        shape = (sizes.images, sizes.stored, sizes.stored, 3)
        pixels = torch.randint(256, shape, dtype=torch.uint8)
        names = [f"class {number}" for number in range(1000)]
        ids = [str(number) for number in range(sizes.images)]
        labels = torch.arange(sizes.images) % 1000
        mean = torch.full((3, sizes.stored, sizes.stored), 127.5)
        store = ImageStore(Path("memory"), ids, names, labels, mean, sizes.stored, pixels)
        self.images, self.sizes, self.batch = {"train": store}, sizes, batch

    def train_dataloader(self) -> Batches:
        crops = Augmentation(self.sizes.stored, self.sizes.side, random=True)
        return Batches(self.images["train"], self.sizes.side, self.batch, crops)

    def val_dataloader(self) -> Batches:
        return Batches(self.images["train"], self.sizes.side, self.batch)


class EpochTime(Callback):
    """Seconds of each epoch, from its first batch to the end of the queue after its last."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, list[float]()

    def on_train_epoch_start(self, *_: Any) -> None:
        synchronize(self.device)
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        synchronize(self.device)
        self.seconds.append(time.perf_counter() - self.start)


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def clock(device: str, run: Callable[[], object]) -> float:
    """Seconds of one call."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def medians(device: str, sizes: Sizes, *runs: Callable[[], object]) -> list[float]:
    for run in runs:
        run()
    rounds = [[clock(device, run) for run in runs] for _ in range(sizes.repeats)]
    return [statistics.median(each) for each in zip(*rounds, strict=True)]


def network(sizes: Sizes) -> ConvNet:
    torch.manual_seed(0)
    return convnet("zfnet", 1000, sizes.side, sizes.edit, "he")


def training(device: str, sizes: Sizes, batch: int) -> list[Row]:
    names = [f"class {number}" for number in range(1000)]
    net, timer = network(sizes), EpochTime(device)
    scheduler = partial(CosineAnnealingLR)
    classifier = Classifier(net, sizes.stored, sizes.side, names, "unit", scheduler=scheduler)
    trainer = Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1, precision="bf16-mixed", max_epochs=sizes.repeats + 1, limit_val_batches=0,
        callbacks=[FilterRenormalization(), timer], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, benchmark=True,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(classifier, datamodule=Synthetic(sizes, batch))
    done = sizes.images // batch * batch
    ours = done / statistics.median(timer.seconds[1:])

    plain = peer_network(sizes, device).train()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9, fused=True)
    images = torch.randn(batch, 3, sizes.side, sizes.side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % 1000

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = F.cross_entropy(plain(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    (seconds,) = medians(device, sizes, step)
    theirs = batch / seconds
    rates = f"{ours:.0f} images/s", f"{theirs:.0f} images/s"
    rows = [Row(f"training, batch {batch} (by hand, no data)", *rates, ours / theirs, ">= 0.9")]
    peak = peak_rate(torch.cuda.get_device_name(), "bf16-mixed") if device == "cuda" else None
    if peak:
        each = operations_per_image(network(sizes).train(), (3, sizes.side, sizes.side))
        shares = f"{ours * each / 1e12:.1f} Tflop/s", f"{peak / 1e12:.0f} Tflop/s"
        rows.append(
            Row(f"training, batch {batch}, of the peak", *shares, ours * each / peak, ">= 0.2")
        )
    return rows


def peer_network(sizes: Sizes, device: str) -> nn.Module:
    """Figure 3 in plain PyTorch, as captum needs it: nothing works in place."""
    peer = by_hand(network(sizes)).eval()
    for module in peer.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return peer.to(device, memory_format=torch.channels_last)


def analyses(device: str, sizes: Sizes) -> list[Row]:
    net = network(sizes).eval().to(device, memory_format=torch.channels_last)
    peer = peer_network(sizes, device)
    images = torch.randn(sizes.search, 3, sizes.side, sizes.side).to(device)
    batches = images.split(min(256, sizes.search))

    def forward() -> None:
        with torch.no_grad():
            for batch in batches:
                net(batch)

    one, other = medians(
        device, sizes, lambda: top_activations(net, batches, LAYERS, progress=False), forward
    )
    rates = [f"{sizes.search / each:.0f} images/s" for each in (one, other)]
    rows = [Row("top 9 of conv1-5 (forward pass)", *rates, one / other, "<= 1.2")]

    occlusion = Occlusion(lambda x: peer(x).softmax(1))
    image, shape = images[:1], (3, sizes.square, sizes.square)
    one, other = medians(
        device,
        sizes,
        lambda: occlusion_sweep(net, image, 0, sizes.square, 8, layer="conv5"),
        torch.no_grad()(
            lambda: occlusion.attribute(
                image, shape, strides=(3, 8, 8), target=0, perturbations_per_eval=64
            )
        ),
    )
    rows.append(Row("occlusion (captum)", f"{one:.3f} s", f"{other:.3f} s", other / one, ">= 2"))
    return rows + [projection(device, sizes, net, peer, images[:16], layer) for layer in LAYERS]


def projection(
    device: str, sizes: Sizes, net: nn.Module, peer: Any, images: torch.Tensor, layer: str
) -> Row:
    top = top_activations(net, [images], [layer], k=1, progress=False)[layer]
    units: list[Unit] = top.units(range(len(top.values)))
    some = units[:: max(1, len(units) // sizes.units)][: sizes.units]
    convolutions = [module for module in peer if isinstance(module, nn.Conv2d)]
    attribution = NeuronDeconvolution(peer, convolutions[int(layer[-1]) - 1])
    deconv = Deconvnet(net)

    def one_by_one() -> None:
        for unit in some:
            image = images[unit.image, None].clone().requires_grad_()
            attribution.attribute(image, (unit.channel, unit.y, unit.x))

    one, other = medians(device, sizes, lambda: deconv.project(images, layer, units), one_by_one)
    each = one / len(units), other / len(some)
    texts = [f"{1e3 * seconds:.3f} ms a unit" for seconds in each]
    return Row(f"projection, {layer} (captum)", *texts, each[1] / each[0], ">= 5")


def bench_on(device: str, sizes: Sizes) -> list[Row]:
    """All rows, in some minutes."""
    warnings.filterwarnings("ignore", message="Setting (forward, )?backward hooks")
    rows = [row for batch in sizes.batches for row in training(device, sizes, batch)]
    return rows + analyses(device, sizes)


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("no GPU: make bench-gpu measures on one")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print("name | ours | peer | ratio | goal")
    for row in bench_on("cuda", Sizes()):
        print(f"{row.name} | {row.ours} | {row.peer} | {row.ratio:.4g} | {row.goal}", flush=True)


if __name__ == "__main__":
    main()
