"""Filters are scaled back to the radius, and not a bit changed where they are within it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zfnet.training.renormalization import renormalize_filters


def slowly(weight: Tensor, radius: float) -> tuple[Tensor, int]:
    """Section 3, filter by filter: an RMS over (in, kh, kw) that exceeds the radius is set to
    it."""
    result, clipped = weight.clone(), 0
    for filter in result:
        rms = sum(value**2 for value in filter.double().flatten().tolist()) / filter.numel()
        rms = rms**0.5
        if rms > radius:
            filter *= radius / rms
            clipped += 1
    return result, clipped


def rms(weight: Tensor) -> Tensor:
    return weight.double().pow(2).mean((1, 2, 3)).sqrt()


@given(
    shapes=st.lists(st.tuples(*[st.integers(1, 5)] * 4), min_size=1, max_size=3),
    scale=st.sampled_from([1e-3, 0.05, 0.1, 0.15, 1.0, 1e4]),
    radius=st.floats(1e-3, 1.0),
    seed=st.integers(0, 99),
)
def test_against_a_loop(
    shapes: list[tuple[int, ...]], scale: float, radius: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = [scale * torch.randn(shape, generator=generator) for shape in shapes]
    before = [weight.clone() for weight in weights]
    counts = renormalize_filters(weights, radius)
    for weight, old, count in zip(weights, before, counts, strict=True):
        expected, clipped = slowly(old, radius)
        # norm, quotient and product round once each; the sum of squares of up to 125 values a
        # little more
        torch.testing.assert_close(weight, expected, rtol=1e-6, atol=0)
        assert (rms(weight) <= radius * (1 + 1e-6)).all()
        near = (rms(old) / radius - 1).abs() < 1e-6
        assert abs(int(count) - clipped) <= int(near.sum())
        inside = (rms(old) <= radius) & ~near
        assert torch.equal(weight[inside], old[inside])


def test_by_hand() -> None:
    """Filters (3, 4) have rms √12.5; at radius ½ they become (3, 4) / (2 √12.5); (0.3, 0.4) is
    within it."""
    weights = torch.tensor([[3.0, 4.0], [0.3, 0.4]]).view(2, 1, 1, 2)
    (count,) = renormalize_filters([weights], 0.5)
    assert count == 1
    assert weights[0].flatten().tolist() == pytest.approx([3 / 50**0.5, 4 / 50**0.5], rel=1e-6)
    assert torch.equal(weights[1].flatten(), torch.tensor([0.3, 0.4]))


def test_zero_filters_stay_zero() -> None:
    weight = torch.zeros(2, 3, 2, 2)
    weight[1] = 1
    (count,) = renormalize_filters([weight], 0.1)
    assert count == 1
    assert not weight[0].any()
    assert torch.isfinite(weight).all()
