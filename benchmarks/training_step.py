"""A training step of ZFNet, batch 32 at 224 pixels, against the same net written by hand.

Ours is the ConvNet in channels_last with its own contrast normalisation, in a process that keeps
freed memory, as train.py sets it up. The peer is `nn.Sequential` in NCHW with
`nn.LocalResponseNorm`, the same weights, the same loop and optimizer, in a process as it is;
further rows give it channels_last and bf16 too.

The limit is arithmetic: 171 + 415 + 150 + 224 + 150 M multiplications in the convolutions and 59 M
in the head, times 3 for forward and backward (2 for conv1, whose input needs no gradient): 3.34 G
an image, 0.214 T floating point operations a step. The optimizer moves 62 M weights, 1.2 GB a step.
The first row sets the step against as many operations at this machine's rate of one float32
convolution, conv4's forward pass. The next rows set it against forward and backward of its five
convolutions alone, each on its own shapes and in the same precision, and of its convolutions and
linear layers: there the ratio is how many times longer the whole step takes."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch
from torch import nn

from benchmarks.handwritten import autocast, by_hand, training_step, zfnet
from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from zfnet.launch.malloc import keep_freed_memory

BATCH, SIZE = sized((32, 224), (2, 64))
OPERATIONS = 2 * BATCH * (3 * (171 + 415 + 150 + 224 + 150 + 59) - 171) * 10**6


def bench() -> list[Row]:
    assert_same_net()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(make, *arguments))
            for make, *arguments in (
                (ours, False),
                (ours, True),
                (peer, False, False),
                (peer, False, True),
                (peer, True, False),
                (peer, True, True),
                (convolutions,),
                (layers_alone, False, False),
                (layers_alone, True, False),
                (layers_alone, True, True),
            )
        ]
        our32, our16, plain32, last32, plain16, last16, limit, *alone = alternate(
            *workers, repeats=3
        )

    def row(name: str, mine: float, other: float, goal: str) -> Row:
        return Row(f"ZFNet step, {name}", f"{mine:.2f} s", f"{other:.2f} s", other / mine, goal)

    def share(name: str, mine: float, other: float, goal: str) -> Row:
        return Row(f"ZFNet step, {name}", f"{mine:.2f} s", f"{other:.2f} s", mine / other, goal)

    return [
        row("float32; limit: convolutions", our32, limit, "1: as many operations"),
        share("float32; its convolutions alone", our32, alone[0], "<= 1.3"),
        share("bf16 autocast; its convolutions alone", our16, alone[1], "<= 1.3"),
        share("bf16 autocast; its convolutions and linear layers", our16, alone[2], "<= 1.2"),
        row("float32; by hand", our32, plain32, ">= 1.1"),
        row("float32; by hand in channels_last", our32, last32, "-"),
        row("bf16 autocast; by hand in float32", our16, plain32, ">= 1.7"),
        row("bf16 autocast; by hand in bf16 autocast", our16, plain16, "-"),
        row("bf16 autocast; by hand in both", our16, last16, "-"),
    ]


def assert_same_net() -> None:
    """Both nets give the same logits."""
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    net = zfnet(SIZE).eval()
    with torch.inference_mode():
        torch.testing.assert_close(net(images), by_hand(net).eval()(images), rtol=1e-3, atol=1e-4)


def ours(bf16: bool) -> Callable[[], float]:
    """Seconds of one step as train.py does it, without Lightning."""
    keep_freed_memory()
    torch.manual_seed(0)
    net = zfnet(SIZE).to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    return partial(
        seconds_of, partial(training_step(net, bf16, fused=True), images, torch.arange(BATCH))
    )


def peer(bf16: bool, channels_last: bool) -> Callable[[], float]:
    """Seconds of one step of the net written by hand."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = by_hand(zfnet(SIZE)).to(memory_format=layout)
    images = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=layout)
    return partial(seconds_of, partial(training_step(net, bf16), images, torch.arange(BATCH)))


def convolutions() -> Callable[[], float]:
    """Seconds of a step's operations at the rate of conv4's forward pass in float32."""
    conv = nn.Conv2d(384, 384, 3, padding=1).to(memory_format=torch.channels_last)
    maps = torch.randn(BATCH, 384, 13, 13).contiguous(memory_format=torch.channels_last)
    operations = 2 * conv.weight.numel() * BATCH * 13**2

    def seconds() -> float:
        with torch.no_grad():
            return seconds_of(lambda: conv(maps)) / operations * OPERATIONS

    return seconds


def layers_alone(bf16: bool, linear: bool) -> Callable[[], float]:
    """Seconds of forward and backward of the convolutions, and of the linear layers if `linear`.

    Each layer gets its input of a forward pass. The first needs no gradient of its input."""
    keep_freed_memory()
    net = zfnet(SIZE).to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    calls = []
    for name, layer in net.named_modules():
        if next(layer.children(), None) is not None:
            continue
        with torch.no_grad(), autocast(bf16):
            y = layer(x)
        if isinstance(layer, (nn.Conv2d, nn.Linear) if linear else nn.Conv2d):
            own = x.detach().clone().requires_grad_(name != "conv1.conv")
            calls.append((layer, own, torch.randn_like(y)))
        x = y

    def run() -> None:
        for layer, own, gradient in calls:
            layer.zero_grad()
            with autocast(bf16):
                y = layer(own)
            y.backward(gradient)
            own.grad = None

    return partial(seconds_of, run)
