"""Projecting units of networks with branches and of transformers, at 224 pixels.

ResNet-18 against captum's NeuronDeconvolution, the others, which captum does not support, against
plain autograd: one forward and one backward pass for each unit. The peers take some of the units.

A unit of ResNet-18's layer1 sees 43 of 224 pixels, and is projected from a crop of 48 to 52: 5 % of
the work. In layer2 the crop has 29 %, and in layer3 all of the pixels for most units. Units of the
vision transformer see everything. There, units of one image share its forward pass, and the blocks
above the layer do not run. Units of stages.1 and blocks.3 see half of the pixels, and share the
forward pass of their image too. What is left is the way down through the whole image: convolutions
leave out where R is 0. Depthwise convolutions and those with few channels, as in EfficientNet, do
not: finding these places takes as long as they save. So blocks.3 stays below its goal."""

import warnings
from collections.abc import Callable

import timm
import torch
import torchvision
from captum.attr import NeuronDeconvolution
from torch import Tensor, nn

from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from zfnet.deconv import Deconvnet, Unit
from zfnet.launch.malloc import keep_freed_memory
from zfnet.models.introspection import capture_outputs, find_modules

IMAGES, SIZE, UNITS, SOME = sized((4, 224, 64, 4), (1, 64, 1, 1))
GOALS = {
    "resnet18": {"layer1": 25, "layer2": 5, "layer3": 1.5},
    "convnext_atto": {"stages.0": 10, "stages.1": 4, "stages.2": 1.5},
    "tf_efficientnet_lite0": {"blocks.1": 10, "blocks.3": 4, "blocks.5": 1.5},
    "vit_tiny_patch16_224": {"blocks.5": 1.5},
}


def bench() -> list[Row]:
    rows = []
    for name, goals in GOALS.items():
        peer, of = (captum, "captum") if name == "resnet18" else (gradient, "one gradient a unit")
        for layer, goal in goals.items():
            with Worker(projections, name, layer) as ours, Worker(peer, name, layer) as theirs:
                one, other = alternate(ours, theirs, repeats=3)
            rows.append(
                Row(
                    f"projection, {name} {layer} ({of})",
                    f"{one * 1e3:.2f} ms a unit",
                    f"{other * 1e3:.1f} ms a unit",
                    other / one,
                    f">= {goal}",
                )
            )
    return rows


def make_net(name: str) -> nn.Module:
    keep_freed_memory()
    torch.manual_seed(0)
    size = {"img_size": SIZE} if name.startswith("vit") else {}
    net = torchvision.models.resnet18() if name == "resnet18" else timm.create_model(name, **size)
    return net.to(memory_format=torch.channels_last).eval()


def images_and_units(net: nn.Module, layer: str) -> tuple[Tensor, list[Unit]]:
    """Images of noise, and units at random places, with a random channel each."""
    images = torch.randn(IMAGES, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    sizes = torch.tensor([IMAGES, *Deconvnet(net).units(layer, SIZE)])
    places = (torch.rand(UNITS, 4) * sizes).long().tolist()
    return images, [Unit(*place) for place in places]


def projections(name: str, layer: str) -> Callable[[], float]:
    """Seconds a unit, for all units."""
    net = make_net(name)
    images, units = images_and_units(net, layer)
    deconv = Deconvnet(net)
    return lambda: seconds_of(lambda: deconv.patches(images, layer, units)) / len(units)


def gradient(name: str, layer: str) -> Callable[[], float]:
    net = make_net(name)
    images, units = images_and_units(net, layer)
    axes, modules = Deconvnet(net).axes(layer, SIZE), find_modules(net, [layer])

    def one_by_one() -> None:
        for unit in units[:SOME]:
            image, values = images[unit.image, None].clone().requires_grad_(), list[Tensor]()
            with capture_outputs(modules, lambda _, output, found=values: found.append(output)):
                net(image)
            value = axes.maps(values[0])[0, unit.channel, unit.y, unit.x]
            torch.autograd.grad(value, image)

    return lambda: seconds_of(one_by_one) / SOME


def captum(name: str, layer: str) -> Callable[[], float]:
    net = make_net(name)
    images, units = images_and_units(net, layer)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    warnings.filterwarnings("ignore", message="Setting (forward, )?backward hooks")
    attribution = NeuronDeconvolution(net, net.get_submodule(layer))

    def one_by_one() -> None:
        for unit in units[:SOME]:
            image = images[unit.image, None].clone().requires_grad_()
            attribution.attribute(image, (unit.channel, unit.y, unit.x))

    return lambda: seconds_of(one_by_one) / SOME
