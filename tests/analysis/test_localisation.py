"""The share of a picture's energy inside a mask, by hand and by a loop."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zfnet.analysis import energy_inside


def test_by_hand() -> None:
    """Energies 1, 4, 9, 16 at the four cells of a 2x2 picture; the mask holds the second and the
    fourth."""
    picture = torch.zeros(1, 3, 2, 2)
    picture[0, 0] = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    mask[0, 1:3, 3] = True
    assert energy_inside(picture, torch.tensor([[1, 2]]), mask).item() == pytest.approx(20 / 30)


def test_what_lies_beyond_the_border_does_not_count() -> None:
    picture, mask = torch.ones(1, 3, 4, 4), torch.ones(1, 3, 3, dtype=torch.bool)
    mask[0, 0, 0] = False
    assert energy_inside(picture, torch.tensor([[-2, -2]]), mask).item() == pytest.approx(3 / 4)
    assert math.isnan(energy_inside(picture, torch.tensor([[9, 9]]), mask).item())


@given(
    starts=st.lists(st.tuples(st.integers(-4, 6), st.integers(-4, 6)), min_size=1, max_size=4),
    seed=st.integers(0, 50),
)
def test_against_a_loop(starts: list[tuple[int, int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randn(len(starts), 3, 3, 4, generator=generator)
    masks = torch.rand(len(starts), 6, 7, generator=generator) > 0.5
    shares = energy_inside(pictures, torch.tensor(starts), masks)
    for n, (top, left) in enumerate(starts):
        inside = total = 0.0
        for i in range(3):
            for j in range(4):
                y, x = top + i, left + j
                if 0 <= y < 6 and 0 <= x < 7:
                    energy = sum(value**2 for value in pictures[n, :, i, j].tolist())
                    total += energy
                    inside += energy * bool(masks[n, y, x])
        assert (
            shares[n].item() == pytest.approx(inside / total, rel=1e-5)
            if total
            else math.isnan(shares[n].item())
        )
