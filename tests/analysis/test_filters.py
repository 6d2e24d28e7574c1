"""Figure 6's numbers on filters made by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zfnet.analysis import filters
from zfnet.deconv import Top
from zfnet.errors import InputError


def wave(frequency: float, side: int = 32, angle: float = 0.0) -> Tensor:
    """A sinusoid of so many cycles per pixel, (1, 3, side, side)."""
    x = torch.arange(side, dtype=torch.float64)
    along = math.cos(angle) * x + math.sin(angle) * x[:, None]
    return torch.cos(2 * math.pi * frequency * along).expand(1, 3, side, side)


def test_dominance_by_hand() -> None:
    equal = torch.ones(5, 3, 7, 7)
    assert filters.dominance(equal) == pytest.approx(1)
    assert filters.rms(equal * 2).tolist() == [2.0] * 5
    equal[3] *= -6
    assert filters.dominance(equal) == pytest.approx(6)
    # The median is 2.
    assert filters.dominance(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)) == pytest.approx(1.5)


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2])
@pytest.mark.parametrize(("frequency", "band"), [(0.08, 0), (0.25, 1), (0.42, 2)])
def test_a_wave_falls_in_its_band(frequency: float, band: int, angle: float) -> None:
    image = wave(frequency, angle=angle)
    assert filters.frequency_content(image)[0, band] > 0.9
    assert filters.peak_frequency(image).item() == pytest.approx(frequency, abs=0.02)


def test_a_constant_is_low_and_nothing_is_nan() -> None:
    shares = filters.frequency_content(
        torch.cat([torch.ones(1, 3, 11, 11), torch.zeros(1, 3, 11, 11)])
    )
    assert shares[0].argmax() == 0
    assert shares[0, 0] > 0.9
    assert shares[1].isnan().all()
    assert filters.frequency_content(torch.ones(1, 3, 64, 64))[0].tolist() == pytest.approx(
        [1, 0, 0]
    )


def test_white_noise_splits_by_area() -> None:
    noise = torch.randn(60, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    areas = [math.pi / 36, math.pi * (1 / 9 - 1 / 36), 1 - math.pi / 9]
    assert filters.frequency_content(noise).mean(0).tolist() == pytest.approx(areas, abs=0.006)
    assert filters.beyond_stride(noise, 2).mean().item() == pytest.approx(
        1 - math.pi / 16, abs=0.006
    )


@given(side=st.integers(1, 12), seed=st.integers(0, 20))
def test_parseval(side: int, seed: int) -> None:
    weights = torch.randn(
        2, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    energy = filters.SIDE**2 * weights.square().sum((1, 2, 3))
    torch.testing.assert_close(filters.spectra(weights).sum((1, 2)), energy)
    torch.testing.assert_close(
        filters.frequency_content(weights).sum(1), torch.ones(2, dtype=torch.float64)
    )


def test_opposite_colours_do_not_cancel() -> None:
    weights = wave(0.25).clone()
    weights[:, 1] *= -1
    weights[:, 2] = 0
    assert filters.frequency_content(weights)[0, 1] > 0.9


@pytest.mark.parametrize("period", [2, 3, 4, 8])
def test_a_comb_lies_on_its_harmonics(period: int) -> None:
    comb = torch.zeros(1, 3, 51, 51)
    comb[:, :, ::period, ::period] = 1
    share, peak = filters.aliasing(comb, period)
    assert share.item() > 0.99
    assert peak.item() > 100
    stripes = torch.zeros(1, 3, 51, 51)
    stripes[:, :, 1::period] = -1
    assert filters.aliasing(stripes, period)[0].item() > 0.99


def test_a_grid_of_another_period_and_noise() -> None:
    """Of the 15 harmonics of period 4, three are those of period 2. Noise has its share by area."""
    comb = torch.zeros(1, 3, 51, 51)
    comb[:, :, ::4, ::4] = 1
    assert filters.aliasing(comb, 2)[0].item() == pytest.approx(3 / 15, abs=0.01)
    noise = torch.randn(300, 3, 51, 51, generator=torch.Generator().manual_seed(0))
    share, peak = filters.aliasing(noise, 4)
    there, around = filters.harmonics(51, 51, 4)
    assert share.mean().item() == pytest.approx(there.double().mean().item(), rel=0.03)
    assert peak.mean().item() == pytest.approx(1, abs=0.05)
    assert not (there & around).any()
    assert not there[0, 0]


def test_a_mean_is_no_grid() -> None:
    slow = wave(0.02, 51) + 5
    assert filters.aliasing(slow, 4)[0].item() < 0.01


def test_dead_maps() -> None:
    values = torch.tensor([[2.0], [0.0], [-1.0], [-torch.inf], [0.1]])
    nothing = torch.zeros(5, 1, dtype=torch.long)
    assert filters.dead_channels(Top(values, nothing, nothing, nothing)) == [1, 2, 3]


def test_errors() -> None:
    with pytest.raises(InputError, match="finite"):
        filters.rms(torch.full((1, 3, 2, 2), torch.nan))
    with pytest.raises(InputError, match="filters"):
        filters.frequency_content(torch.zeros(0, 3, 7, 7))
    with pytest.raises(InputError, match="too small to resolve a grid of 8 pixels"):
        filters.aliasing(torch.randn(1, 3, 27, 27), 8)
