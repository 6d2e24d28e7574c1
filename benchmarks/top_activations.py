"""The nine strongest activations of every map of conv1-5 against the plain forward pass.

ZFNet at 224 pixels, batches of 64, one thread; images of noise, which make every batch bring
newcomers. The limit is the forward pass without its head, 0.95 of the multiplications, and one
reading of 1.5 M activations an image. Memory is the largest that a process ever held that did
nothing else."""

import resource
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.handwritten import zfnet
from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from zfnet.deconv import top_activations
from zfnet.launch.malloc import keep_freed_memory

BATCH, BATCHES, SIZE = sized((64, 4, 224), (4, 2, 64))
LAYERS = [f"conv{number}" for number in range(1, 6)]


def bench() -> list[Row]:
    with Worker(search) as ours, Worker(forward) as peer:
        seconds = alternate(ours, peer, repeats=3)
    with Worker(memory_of, search) as ours, Worker(memory_of, forward) as peer:
        held = ours(), peer()
    count = BATCH * BATCHES
    rates = [f"{count / one:.1f} images/s" for one in seconds]
    sizes = [f"{megabytes:.0f} MB" for megabytes in held]
    return [
        Row(
            "top 9 of conv1-5, time", *rates, seconds[0] / seconds[1], "<= 1.0 of the forward pass"
        ),
        Row("top 9 of conv1-5, memory", *sizes, held[0] / held[1], "<= 1.1 of the forward pass"),
    ]


def net_and_batches() -> tuple[nn.Module, list[torch.Tensor]]:
    keep_freed_memory()
    torch.manual_seed(0)
    net = zfnet(SIZE, init="he").to(memory_format=torch.channels_last).eval()
    return net, [torch.randn(BATCH, 3, SIZE, SIZE) for _ in range(BATCHES)]


def search() -> Callable[[], float]:
    net, batches = net_and_batches()
    return lambda: seconds_of(lambda: top_activations(net, batches, LAYERS, progress=False))


def forward() -> Callable[[], float]:
    net, batches = net_and_batches()

    def whole_pass() -> None:
        with torch.no_grad():
            for batch in batches:
                net(batch)

    return lambda: seconds_of(whole_pass)


def memory_of(make: Callable[[], Callable[[], float]]) -> Callable[[], float]:
    """Megabytes that the process held at most since it began; `make` has filled it with net and
    images."""
    run = make()
    run()
    return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
