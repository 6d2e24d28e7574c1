"""Contrast normalization is Krizhevsky's formula, to rounding, in every format of training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from zfnet.models import ContrastNormalization


def krizhevsky(x: Tensor, n: int, alpha: float, k: float, beta: float = 0.75) -> Tensor:
    """Section 3.3 of 2012: b_i = a_i / (k + α Σ a_j² over j = max(0, i - n/2) ... min(N-1, i +
    n/2))^β."""
    result = torch.empty_like(x)
    maps = x.shape[1]
    for i in range(maps):
        total = torch.zeros_like(x[:, 0])
        for j in range(max(0, i - n // 2), min(maps - 1, i + n // 2) + 1):
            total += x[:, j] ** 2
        result[:, i] = x[:, i] / (k + alpha * total) ** beta
    return result


@given(
    maps=st.integers(1, 9),
    n=st.sampled_from([1, 3, 5, 7]),
    alpha=st.floats(0, 1),
    k=st.floats(0.5, 3),
)
def test_it_is_the_formula_and_torchs(maps: int, n: int, alpha: float, k: float) -> None:
    generator = torch.Generator().manual_seed(maps)
    x = 100 * torch.randn(2, maps, 3, 4, generator=generator, dtype=torch.float64)
    found = ContrastNormalization(n, alpha, k)(x)
    torch.testing.assert_close(found, krizhevsky(x, n, alpha, k), rtol=1e-13, atol=0)
    torch.testing.assert_close(
        found, nn.LocalResponseNorm(n, n * alpha, 0.75, k)(x), rtol=1e-13, atol=0
    )


def test_defaults_are_the_papers() -> None:
    x = 50 * torch.randn(1, 8, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(
        ContrastNormalization()(x), krizhevsky(x, 5, 1e-4, 2.0), rtol=1e-13, atol=0
    )


def test_by_hand() -> None:
    """Maps 3 and 4 with n=3, α=1, k=0: both see 3² + 4² = 25, and 25^¾ = 5 √5."""
    x = torch.tensor([3.0, 4.0], dtype=torch.float64).view(1, 2, 1, 1)
    expected = torch.tensor([3.0, 4.0], dtype=torch.float64) / (5 * 5**0.5)
    torch.testing.assert_close(
        ContrastNormalization(3, 1.0, 0.0)(x).flatten(), expected, rtol=1e-15, atol=0
    )


def test_gradient() -> None:
    x = torch.randn(2, 6, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ContrastNormalization(alpha=0.1), (x,))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_stays(layout: torch.memory_format) -> None:
    x = torch.randn(2, 8, 5, 5).contiguous(memory_format=layout)
    y = ContrastNormalization()(x)
    assert y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y, ContrastNormalization()(x.contiguous()), rtol=1e-6, atol=0)


def test_under_bf16_autocast_it_counts_in_float32() -> None:
    x = (100 * torch.randn(2, 8, 5, 5)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = ContrastNormalization()(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, krizhevsky(x.double(), 5, 1e-4, 2.0).float(), rtol=1e-6, atol=0)
