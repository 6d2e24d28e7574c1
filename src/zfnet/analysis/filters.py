"""Figure 6: measures what is wrong with the filters of a first layer.

Section 4.1 of the paper found three problems in AlexNet: a few filters dominate; there is
"extremely high and low frequency information, with little coverage of the mid frequencies"; and
layer 2 shows "aliasing artifacts caused by the large stride". Renormalization, 7x7 filters and
stride 2 solved them.

    dominance = max rms / median rms,   rms of a filter = sqrt(mean(w²))

Spectra are |FFT|² of a filter padded with zeros to 64x64, summed over its color channels, DC
included. By Parseval's theorem their sum is 64² Σ w². Bands are rings of radial frequency f in
cycles per pixel: low [0, 1/6), middle [1/6, 1/3), high [1/3, the corners at 0.71]. White noise has
9, 26 and 65 % of its energy there, by area. A filter of k pixels does not resolve less than 1/k:
two bands of a 7x7 filter barely differ.

A first layer with stride s leaves a grid of period s in the projections of higher layers: energy at
the frequencies (i/s, j/s) other than (0, 0), measured under a Hann window within its main lobe (2 /
side), after subtracting the mean. Natural spectra fall with frequency, so the share alone says
little; a grid shows as a peak above the ring around each harmonic.

    >>> import torch
    >>> from zfnet.analysis import dominance, frequency_content
    >>> filters = torch.ones(3, 3, 7, 7) * torch.tensor([1.0, 1.0, 4.0]).view(3, 1, 1, 1)
    >>> dominance(filters)
    4.0
    >>> frequency_content(filters)[0]  # low, middle, high
    tensor([0.8297, 0.1095, 0.0608], dtype=torch.float64)
"""

import torch
from torch import Tensor

from zfnet.deconv import Top
from zfnet.errors import InputError

SIDE = 64  # of padded filters
BANDS = (1 / 6, 1 / 3)  # cycles per pixel: where the middle band begins and ends


def rms(weights: Tensor) -> Tensor:
    """Computes sqrt(mean(w²)) of each filter: (N, ...) → (N,)."""
    return _check(weights).flatten(1).square().mean(1).sqrt()


def dominance(weights: Tensor) -> float:
    """Returns max rms / median rms of filters (N, ...): 1 if all are equally strong."""
    each = rms(weights)
    return (each.max() / each.quantile(0.5)).item()


def spectra(weights: Tensor, side: int = SIDE) -> Tensor:
    """Computes |FFT|² of filters (N, C, kh, kw), summed over C: (N, S, S), frequency 0 first.

    S is `side`, or the size of the filters if they are larger.
    """
    weights = _check(weights)
    side = max(side, *weights.shape[-2:])
    return torch.fft.fft2(weights.double(), s=(side, side)).abs().square().sum(1)


def radial(side: int) -> Tensor:
    """Returns the radial frequency of each cell of a spectrum (side, side), in cycles per pixel."""
    line = torch.fft.fftfreq(side, dtype=torch.float64)
    return torch.hypot(line[:, None], line)


def frequency_content(weights: Tensor, edges: tuple[float, ...] = BANDS) -> Tensor:
    """Computes the share of a filter's energy in each frequency band.

    Args:
        weights: (N, C, kh, kw).
        edges: frequencies between the bands, in cycles per pixel.

    Returns:
        (N, len(edges) + 1); NaN for a filter that is 0.
    """
    spectrum = spectra(weights)
    band = torch.bucketize(
        radial(spectrum.shape[1]), torch.tensor(edges, dtype=torch.float64), right=True
    )
    sums = torch.stack([spectrum[:, band == i].sum(1) for i in range(len(edges) + 1)], 1)
    return sums / sums.sum(1, keepdim=True)


def peak_frequency(weights: Tensor) -> Tensor:
    """Returns the radial frequency with the largest energy of each filter (N, C, kh, kw): (N,)."""
    spectrum = spectra(weights)
    return radial(spectrum.shape[1]).flatten()[spectrum.flatten(1).argmax(1)]


def beyond_stride(weights: Tensor, stride: int) -> Tensor:
    """Returns the share of energy (N,) above the Nyquist frequency of the output, 1 / (2
    stride)."""
    return frequency_content(weights, (1 / (2 * stride),))[:, 1]


def dead_channels(top: Top) -> list[int]:
    """Returns the channels that no searched image activates: their largest value is at most 0."""
    return (top.values[:, 0] <= 0).nonzero()[:, 0].tolist()


def aliasing(projections: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """Measures the energy of projections at the harmonics of a grid.

    Args:
        projections: (N, C, H, W).
        period: of the grid, in pixels.

    Returns:
        The share of the energy at the harmonics (N,), NaN for a constant projection; and the ratio
        (N,) of the energy density there to that of a ring around the harmonics, 1 without a grid.

    Raises:
        InputError: the projections are smaller than six periods.
    """
    projections = _check(projections).double()
    height, width = projections.shape[-2:]
    window = _hann(height)[:, None] * _hann(width)
    mean = (projections * window).sum((-2, -1), keepdim=True) / window.sum()
    spectrum = spectra((projections - mean) * window)
    there, around = harmonics(height, width, period)
    return (
        spectrum[:, there].sum(1) / spectrum.sum((1, 2)),
        spectrum[:, there].mean(1) / spectrum[:, around].mean(1),
    )


def harmonics(height: int, width: int, period: int) -> tuple[Tensor, Tensor]:
    """Returns the harmonics of a grid in the spectrum of an image, and the rings around them.

    Two bool (S, S), for an image of `height` x `width` and a grid of `period` pixels. The mean of
    the first is the share of white noise.
    """
    if not can_resolve(period, height, width):
        raise InputError(
            f"images of {height} x {width} pixels are too small to resolve a grid of {period} "
            "pixels"
        )
    side, reach = max(SIDE, height, width), 2 / min(height, width)
    line = torch.fft.fftfreq(side, dtype=torch.float64)
    off = line - (line * period).round() / period  # from the nearest multiple
    distance = torch.hypot(off[:, None], off)
    of_mean = radial(side) <= distance + 1e-9  # the nearest multiple is 0
    return (distance <= reach) & ~of_mean, (distance > reach) & (distance <= 2 * reach) & ~of_mean


def can_resolve(period: int, height: int, width: int) -> bool:
    """Whether the rings around the harmonics are separate: six periods fit into the image."""
    return period > 1 and min(height, width) >= 6 * period


def _hann(length: int) -> Tensor:
    return torch.hann_window(length + 2, periodic=False, dtype=torch.float64)[1:-1]


def _check(numbers: Tensor) -> Tensor:
    if not len(numbers) or not numbers.isfinite().all():
        raise InputError(
            f"filters or projections {tuple(numbers.shape)}: finite numbers are needed"
        )
    return (
        numbers.detach().float().cpu() if numbers.dtype != torch.float64 else numbers.detach().cpu()
    )
