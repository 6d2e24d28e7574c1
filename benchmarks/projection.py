"""Projecting the strongest unit of every map of a layer, ZFNet at 224 pixels, against captum.

The peer is captum's NeuronDeconvolution, one unit at a time, as it has to be called; it is timed on
some of the units, spread evenly, and its net is by hand with the same weights (captum hooks modules
that do not work in place). Ours takes all the units, from the images to full-size pictures; the
general way is timed on the same few units as captum.

Multiplications, in millions a unit. On the way down the windows of conv3, conv4 and conv5 units
need 47, 119 and 235: the last convolution is a filter times a number, conv4 and conv3 take 12 and
22 of the 235, conv2 138, conv1 63. On the way up windows cost as much again. 16 whole images cost
24, 31 and 60 a unit for all channels of conv3, conv4 and conv5. So conv5 needs 295. captum's full
frames cost 1,170 with the head, and 171 to 1,110 back.

One core multiplies 47 billion times a second (AVX-512): 295 million take 6.3 ms, and conv5 takes
7.5. Most of it is the way down through conv2 and conv1. What lies beyond the border there, up to a
quarter, is left out. conv1 has three output channels and takes 90 million multiplications for 63.
Nine tenths of what conv2 multiplies on the way down is 0, but a sparse product takes as long (3.9
ms a unit with the sum of the overlaps, against 3.2)."""

import warnings
from collections.abc import Callable

import torch
from captum.attr import NeuronDeconvolution
from torch import nn

from benchmarks.handwritten import by_hand, zfnet
from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from zfnet.deconv import Deconvnet, Unit, top_activations
from zfnet.launch.malloc import keep_freed_memory

IMAGES, SIZE, SOME = sized((16, 224, 8), (2, 64, 2))
GOALS = {"conv1": 1000, "conv2": 100, "conv3": 12, "conv4": 20, "conv5": 12}
GENERAL = 1.4


def bench() -> list[Row]:
    rows = []
    for layer, goal in GOALS.items():
        with (
            Worker(windowed, layer) as ours,
            Worker(general, layer) as whole,
            Worker(captum, layer) as peer,
        ):
            one, full, theirs = alternate(ours, whole, peer, repeats=3)
        shown = f"{theirs * 1e3:.1f} ms a unit"
        rows.append(
            Row(
                f"projection, {layer}",
                f"{one * 1e3:.3f} ms a unit",
                shown,
                theirs / one,
                f">= {goal}",
            )
        )
        rows.append(
            Row(
                f"the general way, {layer}",
                f"{full * 1e3:.1f} ms a unit",
                shown,
                theirs / full,
                f">= {GENERAL}",
            )
        )
    return rows


def net_images_units(layer: str) -> tuple[nn.Module, torch.Tensor, list[Unit]]:
    keep_freed_memory()
    torch.manual_seed(0)
    net = zfnet(SIZE, init="he").to(memory_format=torch.channels_last).eval()
    images = torch.randn(IMAGES, 3, SIZE, SIZE)
    top = top_activations(net, [images], [layer], k=1, progress=False)[layer]
    columns = (column[:, 0].tolist() for column in (top.images, top.y, top.x))
    units = [Unit(image, map, y, x) for map, (image, y, x) in enumerate(zip(*columns, strict=True))]
    return net, images, units


def some(units: list[Unit]) -> list[Unit]:
    return units[:: len(units) // SOME][:SOME]


def windowed(layer: str) -> Callable[[], float]:
    """Seconds a unit, for all units."""
    net, images, units = net_images_units(layer)
    deconv = Deconvnet(net)
    return lambda: seconds_of(lambda: deconv.project(images, layer, units)) / len(units)


def general(layer: str) -> Callable[[], float]:
    net, images, units = net_images_units(layer)
    # As captum takes it; unlike windows, off the chain.
    deconv = Deconvnet(net, normalization="gradient")
    return lambda: seconds_of(lambda: deconv.project_general(images, layer, some(units))) / SOME


def captum(layer: str) -> Callable[[], float]:
    net, images, units = net_images_units(layer)
    peer = by_hand(net)  # type: ignore[arg-type]
    for module in peer.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    convolutions = [module for module in peer if isinstance(module, nn.Conv2d)]
    warnings.filterwarnings("ignore", message="Setting (forward, )?backward hooks")
    attribution = NeuronDeconvolution(peer.eval(), convolutions[int(layer[-1]) - 1])

    def one_by_one() -> None:
        for unit in some(units):
            image = images[unit.image, None].clone().requires_grad_()
            attribution.attribute(image, (unit.channel, unit.y, unit.x))

    return lambda: seconds_of(one_by_one) / SOME
