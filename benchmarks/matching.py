"""Matching the channels of two layers, against numpy.corrcoef and one call of SciPy's assignment.

2,048 channels and 10,000 images. Half of the channels of the second layer are noisy copies of
channels of the first. Ours makes two matchings: that of the images, and that of shuffled images for
the chance. Memory is the largest that a process held beyond the two layers."""

import resource
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from zfnet.analysis import match_channels

IMAGES, CHANNELS = sized((10_000, 2048), (300, 16))
PARTS = 64  # that channels are mixed from


def bench() -> list[Row]:
    with Worker(timed, ours) as one, Worker(timed, peer) as other:
        seconds = alternate(one, other, repeats=3)
    with Worker(memory_of, ours) as one, Worker(memory_of, peer) as other:
        held = one(), other()
    scores = [match(*layers()) for match in (ours, peer)]
    difference = np.abs(np.subtract(*scores)).max()
    name = f"matching {CHANNELS} channels, {IMAGES} images"
    return [
        Row(
            f"{name}, time",
            *(f"{s:.2f} s" for s in seconds),
            seconds[1] / seconds[0],
            ">= 1, ours <= 60 s",
        ),
        Row(f"{name}, memory", *(f"{m:.0f} MB" for m in held), held[0] / held[1], "<= 0.5"),
        Row(
            "matching, difference of correlations", f"{difference:.1e}", "0", difference, "<= 1e-9"
        ),
    ]


def layers() -> tuple[Tensor, Tensor]:
    """Rectified, made in place: nothing but the layers is ever held."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(IMAGES, PARTS, generator=generator)
    mixed = []
    for _ in "ab":
        weights = torch.randn(PARTS, CHANNELS, generator=generator) / PARTS**0.5
        mixed.append(torch.randn(IMAGES, CHANNELS, generator=generator).addmm_(parts, weights))
    a, b = mixed
    for channel in range(0, CHANNELS, 2):
        b[:, channel].mul_(0.5).add_(a[:, -1 - channel])
    return a.relu_(), b.relu_()


def ours(a: Tensor, b: Tensor) -> np.ndarray:
    return match_channels(a, b).scores.numpy()


def peer(a: Tensor, b: Tensor) -> np.ndarray:
    r = np.corrcoef(a.numpy(), b.numpy(), rowvar=False)[:CHANNELS, CHANNELS:]
    return r[linear_sum_assignment(r, maximize=True)]


def timed(match: Callable[[Tensor, Tensor], np.ndarray]) -> Callable[[], float]:
    threadpool_limits(1)  # numpy's, too
    both = layers()
    return lambda: seconds_of(lambda: match(*both))


def memory_of(match: Callable[[Tensor, Tensor], np.ndarray]) -> Callable[[], float]:
    """Megabytes that the process held at most, beyond what it held with the layers."""
    both = layers()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    match(*both)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return lambda: max(after - before, 1024) / 1024  # tiny layers may find room
