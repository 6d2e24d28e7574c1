"""An occlusion sweep (Figure 7) of one picture against captum and a plain batched sweep.

captum's Occlusion with perturbations_per_eval=64 gives the probability of one class at 529 places,
ours the logits at all of them and every map of layer 5. The plain sweep is our own in batches of
64, channels_last.

The limit in multiplications is 3.8x for ZFNet and 2.5x for AlexNet against the plain sweep
(design): 529 whole pictures against the windows that the square touches, cut at the maps' borders,
and the heads of all. Measured on an AMD EPYC: 3.1x and 2.2x. The rest is copying windows, the plain
sweep's larger convolutions, and a clean pass."""

from collections.abc import Callable

import torch
import torchvision
from captum.attr import Occlusion
from torch import Tensor, nn

from benchmarks.handwritten import zfnet
from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from zfnet.analysis.occlusion.sweep import occlusion_sweep
from zfnet.launch.malloc import keep_freed_memory

SIDE, SIZE = sized((224, 50), (64, 40))


def bench() -> list[Row]:
    rows = []
    for name, goal in (("zfnet", ">= 5"), ("torchvision's alexnet", ">= 2.7")):
        with (
            Worker(sweep, name, 8) as ours,
            Worker(by_captum, name, 8) as peer,
            Worker(plain, name, 8) as whole,
        ):
            one, theirs, plainly = alternate(ours, peer, whole, repeats=3)
        rows.append(
            Row(
                f"occlusion, {name} (captum)", f"{one:.2f} s", f"{theirs:.2f} s", theirs / one, goal
            )
        )
        rows.append(
            Row(
                f"occlusion, {name} (plain)",
                f"{one:.2f} s",
                f"{plainly:.2f} s",
                plainly / one,
                "the limit",
            )
        )
    with Worker(sweep, "zfnet", 4) as ours, Worker(plain, "zfnet", 4) as whole:
        one, plainly = alternate(ours, whole, repeats=1)
    rows.append(
        Row(
            "occlusion, zfnet, every 4 (plain)",
            f"{one:.2f} s",
            f"{plainly:.2f} s",
            plainly / one,
            ">= 3",
        )
    )
    with Worker(sweep, "zfnet", 8, 16) as many, Worker(sweep, "zfnet", 8) as ours:
        sixteen, one = alternate(many, ours, repeats=1)
    each = f"{sixteen / 16:.2f} s an image"
    rows.append(
        Row("occlusion, 16 images", each, f"{one:.2f} s for one", 16 * one / sixteen, ">= 1")
    )
    return rows


def net_and_images(name: str, count: int) -> tuple[nn.Module, Tensor]:
    keep_freed_memory()
    torch.manual_seed(0)
    if name == "zfnet":
        net: nn.Module = zfnet(SIDE, init="he")
    else:
        net = torchvision.models.alexnet(weights=None)
    return net.to(memory_format=torch.channels_last).eval(), torch.randn(count, 3, SIDE, SIDE)


def layer_of(name: str) -> str:
    return "conv5" if name == "zfnet" else "features.11"


def sweep(name: str, stride: int, count: int = 1) -> Callable[[], float]:
    net, images = net_and_images(name, count)
    return lambda: seconds_of(
        lambda: occlusion_sweep(net, images, 0, SIZE, stride, layer=layer_of(name))
    )


def plain(name: str, stride: int) -> Callable[[], float]:
    net, images = net_and_images(name, 1)
    return lambda: seconds_of(
        lambda: occlusion_sweep(net, images, 0, SIZE, stride, exhaustive=True)
    )


def by_captum(name: str, stride: int) -> Callable[[], float]:
    net, images = net_and_images(name, 1)
    net = net.to(memory_format=torch.contiguous_format)  # as one has it
    occlusion = Occlusion(lambda x: net(x).softmax(1))
    strides, shape = (3, stride, stride), (3, SIZE, SIZE)

    def attribute() -> None:
        with torch.no_grad():
            occlusion.attribute(images, shape, strides=strides, target=0, perturbations_per_eval=64)

    return lambda: seconds_of(attribute)
