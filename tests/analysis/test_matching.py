"""Matching of channels: against all permutations, numpy, and cases computed by hand."""

import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zfnet.analysis import Matching, centered, correlations, linear_cka, match_channels
from zfnet.errors import InputError


def noise(images: int, channels: int, seed: int = 0) -> Tensor:
    """Rectified, as activations are."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, channels, generator=generator).relu()


def by_numpy(a: Tensor, b: Tensor) -> np.ndarray:
    return np.corrcoef(a.double().numpy(), b.double().numpy(), rowvar=False)[
        : a.shape[1], a.shape[1] :
    ]


def by_permutations(r: np.ndarray) -> float:
    """The largest sum of a one-to-one assignment, by trying all."""
    r = r if len(r) <= r.shape[1] else r.T
    return max(
        sum(r[i, j] for i, j in enumerate(columns))
        for columns in permutations(range(r.shape[1]), len(r))
    )


def test_correlations_are_those_of_numpy() -> None:
    a, b = noise(300, 7), noise(300, 5, seed=1)
    b[:, 2] -= 3 * a[:, 4]
    assert correlations(a, b).dtype == torch.float64
    np.testing.assert_allclose(correlations(a, b), by_numpy(a, b), atol=1e-14)


def test_a_large_mean_and_small_deviations_lose_nothing() -> None:
    """float32 at 1e6 has steps of 1/16: the deviations are a few steps."""
    a, b = noise(400, 3) + 1e6, noise(400, 4, seed=1)
    b[:, 0] = (a[:, 1] - 1e6) * 1e-20
    assert a.dtype == torch.float32
    found = correlations(a, b)
    exact = (a.double() - 1e6).numpy()
    np.testing.assert_allclose(found, by_numpy(torch.from_numpy(exact), b), atol=1e-12)
    assert found[1, 0] == pytest.approx(1, abs=1e-6)


def test_a_channel_that_never_varies_has_correlation_0() -> None:
    """0.1 times 300, divided by 300, is not 0.1 in floating point."""
    a, b = noise(300, 3), noise(300, 3, seed=1)
    a[:, 1], b[:, 0] = 0.1, -1e30
    found = correlations(a, b)
    assert (found[1] == 0).all()
    assert (found[:, 0] == 0).all()
    assert (found[[0, 2]][:, 1:] != 0).all()


@pytest.mark.parametrize("at_once", [1, 11 * 7, 10**9])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    a, b = noise(50, 6) + 1000, noise(50, 5, seed=1)
    monkeypatch.setattr(centered, "AT_ONCE", at_once)
    np.testing.assert_allclose(correlations(a, b), by_numpy(a, b), atol=1e-12)
    matching = match_channels(a, b)
    monkeypatch.undo()
    whole = match_channels(a, b)
    assert matching.partners.tolist() == whole.partners.tolist()
    assert matching.chance == pytest.approx(whole.chance, abs=1e-12)


def test_memory_mapped_activations(tmp_path: Path) -> None:
    a, b = noise(60, 6), noise(60, 5, seed=1)
    for name, values in (("a", a), ("b", b)):
        np.save(tmp_path / f"{name}.npy", values.numpy())
    mapped = [torch.from_numpy(np.load(tmp_path / f"{name}.npy", mmap_mode="r+")) for name in "ab"]
    assert torch.equal(correlations(*mapped), correlations(a, b))
    assert match_channels(*mapped).scores.tolist() == pytest.approx(
        match_channels(a, b).scores.tolist(), nan_ok=True
    )
    assert linear_cka(*mapped) == linear_cka(a, b)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
def test_the_sum_is_the_largest_of_all_assignments(c1: int, c2: int, seed: int) -> None:
    a, b = noise(20, c1, seed), noise(20, c2, seed + 1)
    matching = match_channels(a, b)
    r = by_numpy(a, b).reshape(c1, c2)
    matched = matching.partners >= 0
    partners = matching.partners[matched].tolist()
    assert len(set(partners)) == len(partners) == min(c1, c2)
    assert matching.scores[matched].sum().item() == pytest.approx(by_permutations(r), abs=1e-9)
    np.testing.assert_allclose(
        matching.scores[matched], r[matched.nonzero()[:, 0], partners], atol=1e-12
    )
    assert matching.scores[~matched].isnan().all()


@settings(max_examples=20)
@given(st.permutations(range(8)), st.lists(st.floats(1e-3, 1e3), min_size=8, max_size=8))
def test_a_permuted_and_scaled_copy_is_matched_to_itself(
    order: list[int], factors: list[float]
) -> None:
    a = noise(40, 8)
    matching = match_channels(a, a[:, order] * torch.tensor(factors) - 5)
    assert [order[partner] for partner in matching.partners] == list(range(8))
    assert matching.scores.tolist() == pytest.approx([1] * 8, abs=1e-6)
    assert matching.status_a == matching.status_b == ["kept"] * 8


def test_status_by_hand() -> None:
    """Channel by channel, at the limits; chance is 0.25."""
    matching = Matching(
        partners=torch.tensor([4, 0, 1, 2, 5, -1, -1]),
        scores=torch.tensor(
            [0.7, 0.69, 0.251, 0.25, -0.5, math.nan, math.nan], dtype=torch.float64
        ),
        chance=0.25,
        dead_a=torch.tensor([False] * 6 + [True]),
        dead_b=torch.tensor([False, False, False, True, False, False, False]),
    )
    assert matching.status_a == ["kept", "changed", "changed", "lost", "lost", "lost", "dead"]
    assert matching.status_b == ["changed", "changed", "new", "dead", "kept", "new", "new"]


def test_above_070_but_not_above_chance_is_lost() -> None:
    alive = torch.tensor([False])
    few = Matching(torch.tensor([0]), torch.tensor([0.8]).double(), 0.9, alive, alive)
    assert (few.status_a, few.status_b) == (["lost"], ["new"])
    few = Matching(torch.tensor([0]), torch.tensor([0.95]).double(), 0.9, alive, alive)
    assert (few.status_a, few.status_b) == (["kept"], ["kept"])


def test_status_of_planted_channels() -> None:
    """Channels of b: a new one, 3 / 5 of a's channel 2, a dead one, a's channel 0, a revived one.

    (3 x + 4 noise) / 5 correlates with x by 0.6."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(5000, 5, generator=generator)
    b = torch.randn(5000, 5, generator=generator)
    a[:, 4] = 0
    b[:, 1] = 3 * a[:, 2] + 4 * b[:, 1]
    b[:, 2] = 0
    b[:, 3] = a[:, 0]
    matching = match_channels(a, b)
    assert matching.status_a == ["kept", "lost", "changed", "lost", "dead"]
    assert matching.status_b == ["new", "changed", "dead", "kept", "new"]
    assert matching.scores[2].item() == pytest.approx(0.6, abs=0.03)
    assert matching.partners[4] == -1
    assert 2 not in matching.partners
    assert 0.01 < matching.chance < 0.05  # about 2.3 deviations of 1 / sqrt(5000)


def test_channels_that_differ_in_number() -> None:
    a = noise(100, 6)
    fewer = match_channels(a, a[:, [4, 1]])
    assert fewer.partners.tolist() == [-1, 1, -1, -1, 0, -1]
    assert fewer.status_a == ["lost", "kept", "lost", "lost", "kept", "lost"]
    more = match_channels(a[:, [4, 1]], a)
    assert more.partners.tolist() == [4, 1]
    assert more.status_b == ["new", "kept", "new", "new", "kept", "new"]


def test_equal_channels_are_each_matched_as_often_as_they_exist() -> None:
    x = noise(100, 3)
    twice = match_channels(x[:, [0, 0, 1]], x[:, [0, 1, 0]])
    assert twice.scores.tolist() == pytest.approx([1, 1, 1])
    once = match_channels(x[:, [0, 0]], x[:, [0, 2]])
    assert sorted(once.status_a) == ["kept", "lost"]
    assert once.status_b == ["kept", "new"]


@pytest.mark.parametrize("dead", ["a", "b", "ab"])
def test_dead_layers_match_nothing(dead: str) -> None:
    a, b = (torch.ones(10, 3) if name in dead else noise(10, 3) for name in "ab")
    matching = match_channels(a, b)
    assert matching.partners.tolist() == [-1, -1, -1]
    assert math.isnan(matching.chance)
    assert matching.status_a == ["dead" if "a" in dead else "lost"] * 3
    assert matching.status_b == ["dead" if "b" in dead else "new"] * 3


def test_unrelated_layers_are_matched_by_chance_only() -> None:
    """1 % of the pairs exceed chance."""
    above = []
    for seed in range(50):
        matching = match_channels(noise(200, 30, seed), noise(200, 30, seed + 100))
        above += (matching.scores > matching.chance).tolist()
    assert 0.003 < np.mean(above) < 0.02
    two = match_channels(noise(2, 5), noise(2, 5, seed=1))  # two images always correlate by 1
    assert two.chance == 1
    assert "kept" not in two.status_a


def test_chance_is_determined_by_the_seed() -> None:
    a, b = noise(100, 20), noise(100, 20, seed=1)
    state = torch.get_rng_state()
    first, again, other = (match_channels(a, b, seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert first.chance == again.chance != other.chance
    assert other.chance == pytest.approx(first.chance, abs=0.05)
    for one, two in zip(vars(first).values(), vars(again).values(), strict=True):
        assert one == two if isinstance(one, float) else torch.equal(one, two)
    assert torch.equal(first.scores, other.scores)


@pytest.mark.parametrize("compare", [correlations, match_channels, linear_cka])
def test_what_cannot_be_compared_is_an_error(compare: object) -> None:
    assert callable(compare)
    a, b = noise(5, 3), noise(5, 3, seed=1)
    for value in (math.nan, math.inf, -math.inf):
        for image in (0, 3):
            bad = b.clone()
            bad[image, 2] = value
            with pytest.raises(InputError, match=r"^.*b.*: channel 2 holds a value that is no fin"):
                compare(a, bad)
    with pytest.raises(InputError, match=r"of 4 images, and .*a.* has 5: give those of the same"):
        compare(a, b[:4])
    for few in (a[:1], a[:0], a[0], a[None]):
        with pytest.raises(InputError, match=r"of at least 2 images are needed$"):
            compare(few, few)


def test_activations_are_left_as_they_are() -> None:
    a, b = noise(20, 4).double(), noise(20, 3, seed=1).double()
    before = a.clone(), b.clone()
    match_channels(a, b)
    linear_cka(a, b)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])
