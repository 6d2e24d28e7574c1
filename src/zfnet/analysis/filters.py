"""Figure 6: what is wrong with a first layer, in numbers.

Section 4.1 looked at AlexNet's filters and saw three things: a few filters dominate, "extremely high and low
frequency information, with little coverage of the mid frequencies", and in layer 2 "aliasing artifacts caused
by the large stride". Renormalisation, 7x7 filters and stride 2 mended them.

    dominance = max rms / median rms,   rms of a filter = sqrt(mean(w²))

Spectra are |FFT|² of a filter padded with zeros to 64x64, summed over its colours (not of the colours' sum), DC
included; by Parseval their sum is 64² Σ w². Bands are rings of radial frequency f in cycles per pixel, thirds
of the way to Nyquist: low [0, 1/6), middle [1/6, 1/3), high [1/3, the corners at 0.71]. White noise puts 9, 26
and 65 % there, by area. A filter of k pixels resolves no more than 1/k: two bands of a 7x7 are barely apart.

A first layer of stride s stamps a grid of period s into what layers above project: energy at the frequencies
(i/s, j/s) without (0, 0), under a Hann window, within its main lobe (2 / side); the mean is taken off before.
Natural spectra fall, so that a share says little alone: what a grid adds stands out from the ring around.

    dominance(weights), frequency_content(weights), aliasing(pictures, period=4)   # weights (N, C, kh, kw)
"""

import torch
from torch import Tensor

from zfnet.deconv import Top
from zfnet.errors import InputError

SIDE = 64  # of padded filters
BANDS = (1 / 6, 1 / 3)  # cycles per pixel: where the middle band begins and ends


def rms(weights: Tensor) -> Tensor:
    """sqrt(mean(w²)) of each filter (N, ...): (N,)."""
    return _checked(weights).flatten(1).square().mean(1).sqrt()


def dominance(weights: Tensor) -> float:
    """How many times stronger the strongest filter is than the median one: 1 when all are equal."""
    each = rms(weights)
    return (each.max() / each.quantile(0.5)).item()


def spectra(weights: Tensor, side: int = SIDE) -> Tensor:
    """|FFT|² (N, side, side), summed over colours, frequency 0 first; what is larger than `side` is not cut."""
    weights = _checked(weights)
    side = max(side, *weights.shape[-2:])
    return torch.fft.fft2(weights.double(), s=(side, side)).abs().square().sum(1)


def radial(side: int) -> Tensor:
    """The radial frequency of each cell of a spectrum (side, side), in cycles per pixel."""
    line = torch.fft.fftfreq(side, dtype=torch.float64)
    return torch.hypot(line[:, None], line)


def frequency_content(weights: Tensor, edges: tuple[float, ...] = BANDS) -> Tensor:
    """Each filter's shares of energy between `edges`, (N, len(edges) + 1); NaN for a filter that is 0."""
    spectrum = spectra(weights)
    band = torch.bucketize(radial(spectrum.shape[1]), torch.tensor(edges, dtype=torch.float64), right=True)
    sums = torch.stack([spectrum[:, band == i].sum(1) for i in range(len(edges) + 1)], 1)
    return sums / sums.sum(1, keepdim=True)


def peak_frequency(weights: Tensor) -> Tensor:
    """The radial frequency at which each filter answers most, (N,)."""
    spectrum = spectra(weights)
    return radial(spectrum.shape[1]).flatten()[spectrum.flatten(1).argmax(1)]


def beyond_stride(weights: Tensor, stride: int) -> Tensor:
    """Each filter's share of energy above half a cycle a stride, which its own map cannot tell from lower ones."""
    return frequency_content(weights, (1 / (2 * stride),))[:, 1]


def dead_maps(top: Top) -> list[int]:
    """The maps that no searched picture excites: whose largest value is not above 0."""
    return (top.values[:, 0] <= 0).nonzero()[:, 0].tolist()


def aliasing(pictures: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """Each picture's share of energy (N,) at the harmonics of a grid of `period` pixels, NaN for one that is flat;
    and how much denser (N,) it is there than in a ring around them, 1 where no grid is."""
    pictures = _checked(pictures).double()
    height, width = pictures.shape[-2:]
    window = _hann(height)[:, None] * _hann(width)
    mean = (pictures * window).sum((-2, -1), keepdim=True) / window.sum()
    spectrum = spectra((pictures - mean) * window)
    there, around = harmonics(height, width, period)
    return (
        spectrum[:, there].sum(1) / spectrum.sum((1, 2)),
        spectrum[:, there].mean(1) / spectrum[:, around].mean(1),
    )


def harmonics(height: int, width: int, period: int) -> tuple[Tensor, Tensor]:
    """Which cells of such pictures' spectra are harmonics of a grid, and which lie in a ring of twice the reach
    around them: bool (side, side) each. The mean of the first is white noise's share."""
    if not resolved_layers(period, height, width):
        raise InputError(f"pictures of {height} x {width} are too small to tell a grid of {period} pixels")
    side, reach = max(SIDE, height, width), 2 / min(height, width)
    line = torch.fft.fftfreq(side, dtype=torch.float64)
    off = line - (line * period).round() / period  # from the nearest multiple
    distance = torch.hypot(off[:, None], off)
    of_mean = radial(side) <= distance + 1e-9  # the nearest multiple is 0
    return (distance <= reach) & ~of_mean, (distance > reach) & (distance <= 2 * reach) & ~of_mean


def resolved_layers(period: int, height: int, width: int) -> bool:
    """Whether the harmonics of a grid stand apart, rings and all: six periods fit into the picture."""
    return period > 1 and min(height, width) >= 6 * period


def _hann(length: int) -> Tensor:
    return torch.hann_window(length + 2, periodic=False, dtype=torch.float64)[1:-1]


def _checked(numbers: Tensor) -> Tensor:
    if not len(numbers) or not numbers.isfinite().all():
        raise InputError(f"filters or pictures {tuple(numbers.shape)}: finite numbers are needed")
    return numbers.detach().float().cpu() if numbers.dtype != torch.float64 else numbers.detach().cpu()
