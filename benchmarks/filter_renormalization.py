"""Filter renormalization as a share of ZFNet's training step: batch 32 at 224 pixels.

The share is what `renormalize_filters` takes of the processor time of the step before it, on the
five convolutions' weights in channels_last and with the caches as that step leaves them.

The limit is memory: 3.7 M weights, 15 MB, are read for the norms, and read and written again for
the layers that have a filter to clip: up to 45 MB and 11 M operations beside 0.2 T. The last row
sets it against one reading of the weights, their sum, after another step. A processor with bfloat16
units makes the step faster and the reading not, so the share of a bf16 step may be larger; it is
measured only where training uses bf16. The paper's radius clips in layer 1 only at first; a radius
below every filter's rms, where all layers are clipped, is the worst case."""

import statistics
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.handwritten import training_step, zfnet
from benchmarks.measuring import TINY, Row, Worker, seconds_of, sized
from zfnet.launch.malloc import keep_freed_memory
from zfnet.launch.resolvers import fast_precision
from zfnet.training.renormalization import renormalize_filters

BATCH, SIZE, STEPS = sized(32, 2), sized(224, 64), sized(5, 1)
PAPER, EVERY_FILTER = 0.1, 0.01  # radii


def bench() -> list[Row]:
    rows = []
    cases = [("float32", False, PAPER, "<= 0.001")]
    if TINY or fast_precision() == "bf16-mixed":
        cases += [
            ("bf16 autocast", True, PAPER, "<= 0.0015"),
            ("bf16 autocast, all filters clipped", True, EVERY_FILTER, "<= 0.003"),
        ]
    for name, bf16, radius, goal in cases:
        with Worker(step_and_renormalization, bf16, radius) as worker:
            rounds = zip(*[worker() for _ in range(STEPS)], strict=True)
            step, ours, reading = (statistics.median(seconds) for seconds in rounds)
        shown = f"{ours * 1e3:.2f} ms"
        rows.append(
            Row(
                f"filter renormalization, {name}",
                shown,
                f"{step * 1e3:.0f} ms a step",
                ours / step,
                goal,
            )
        )
        if not bf16:
            read = f"{reading * 1e3:.2f} ms, one reading"
            rows.append(
                Row("filter renormalization, its limit", shown, read, ours / reading, "<= 1.5")
            )
    return rows


def step_and_renormalization(bf16: bool, radius: float) -> Callable[[], tuple[float, float, float]]:
    """Seconds of a step, of the renormalization after it, and of reading the weights after another
    step."""
    keep_freed_memory()
    torch.manual_seed(0)
    net = zfnet(SIZE).to(memory_format=torch.channels_last)
    weights = [module.weight for module in net.modules() if isinstance(module, nn.Conv2d)]
    images = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    step = training_step(net, bf16)

    def read() -> None:
        with torch.no_grad():
            for weight in weights:
                weight.sum()

    def measure() -> tuple[float, float, float]:
        seconds = seconds_of(lambda: step(images, torch.arange(BATCH)))
        ours = seconds_of(lambda: renormalize_filters(weights, radius))
        step(images, torch.arange(BATCH))
        return seconds, ours, seconds_of(read)

    return measure
