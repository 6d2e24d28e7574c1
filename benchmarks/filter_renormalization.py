"""Filter renormalisation after every step, as a share of ZFNet's training step: batch 32 at 224 pixels.

The share is what the callback's `renormalize` takes of the processor time of the step before it, on the five
convolutions' weights in channels_last and with the caches as that step leaves them.

The limit is memory: 3.7 M weights, 15 MB, are read for the norms, and read and written again for the layers
that have a filter to clip: up to 45 MB and 11 M operations beside 0.2 T. The paper's radius clips in layer 1
only at first; a radius below every filter's rms, where all layers are clipped, is the worst case.
"""

import statistics
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.handwritten import CLASSES, training_step
from benchmarks.measuring import Row, Worker, seconds_of, sized
from callbacks.filter_renormalization import renormalize
from zfnet.models import convnet
from zfnet.training.memory import keep_freed_memory

BATCH, SIZE, STEPS = sized(32, 2), sized(224, 64), sized(7, 1)
PAPER, EVERY_FILTER = 0.1, 0.01  # radii


def bench() -> list[Row]:
    rows = []
    for name, bf16, radius in (
        ("float32", False, PAPER),
        ("bf16 autocast", True, PAPER),
        ("bf16 autocast, all filters clipped", True, EVERY_FILTER),
    ):
        with Worker(step_and_renormalization, bf16, radius) as worker:
            pairs = zip(*[worker() for _ in range(STEPS)], strict=True)
            step, ours = (statistics.median(seconds) for seconds in pairs)
        shown = f"{ours * 1e3:.2f} ms", f"{step * 1e3:.0f} ms a step"
        rows.append(Row(f"filter renormalisation, {name}", *shown, ours / step, "<= 0.001"))
    return rows


def step_and_renormalization(bf16: bool, radius: float) -> Callable[[], tuple[float, float]]:
    """Seconds of a step, and of the renormalisation after it."""
    keep_freed_memory()
    torch.manual_seed(0)
    net = convnet("zfnet", CLASSES, SIZE).to(memory_format=torch.channels_last)
    weights = [module.weight for module in net.modules() if isinstance(module, nn.Conv2d)]
    images = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    step = training_step(net, bf16)

    def both() -> tuple[float, float]:
        return (
            seconds_of(lambda: step(images, torch.arange(BATCH))),
            seconds_of(lambda: renormalize(weights, radius)),
        )

    return both
