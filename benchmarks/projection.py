"""Projecting the strongest unit of every map of a layer, ZFNet at 224 pixels, against captum.

The peer is captum's NeuronDeconvolution, one unit at a time, as it has to be called; it is timed on
some of the units, spread evenly, and its net is by hand with the same weights (captum hooks modules
that do not work in place). Ours takes all the units, from the images to full-size pictures; the
general way is timed on the same few units as captum.

The limit in multiplications (M) per unit: the windows that conv1-5 units see cost 0.01, 3, 64, 173
and 470 there and back; captum's full frames cost 1,170 with the head, and 171 to 1,110 back."""

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
GOALS = {"conv1": 1000, "conv2": 100, "conv3": 12, "conv4": 7, "conv5": 4}
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
