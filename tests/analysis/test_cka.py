"""Linear CKA: against the definition by HSIC, its invariances, and the table of many layers."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zfnet.analysis import centered, cka, cka_table, linear_cka
from zfnet.errors import InputError

SIZES = st.tuples(st.integers(2, 30), st.integers(1, 12), st.integers(1, 12))
SEEDS = st.integers(0, 2**31)


def noise(images: int, channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, channels, generator=generator, dtype=torch.float64)


def by_hsic(x: Tensor, y: Tensor) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), with HSIC(K, L) = tr(K H L H) / (N - 1)²."""
    images = len(x)
    center = torch.eye(images, dtype=torch.float64) - 1 / images

    def hsic(k: Tensor, m: Tensor) -> float:
        return torch.trace(k @ center @ m @ center).item() / (images - 1) ** 2

    k, m = (each.double() @ each.double().T for each in (x, y))
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


@given(SIZES, SEEDS)
def test_cka_is_that_of_hsic(sizes: tuple[int, int, int], seed: int) -> None:
    """More images than channels, and fewer."""
    images, c1, c2 = sizes
    x, y = noise(images, c1, seed) + 3, noise(images, c2, seed + 1)
    y[:, 0] += x[:, 0]
    assert linear_cka(x, y) == pytest.approx(by_hsic(x, y), abs=1e-9)


@given(SIZES, SEEDS, st.floats(1e-3, 1e3))
def test_cka_ignores_rotation_scale_and_shift(
    sizes: tuple[int, int, int], seed: int, scale: float
) -> None:
    images, c1, c2 = sizes
    x, y = noise(images, c1, seed), noise(images, c2, seed + 1)
    rotation = torch.linalg.qr(noise(c1, c1, seed + 2))[0]
    found = linear_cka(scale * x @ rotation + 2, y)
    assert found == pytest.approx(linear_cka(x, y), abs=1e-9)
    assert 0 <= found <= 1
    assert linear_cka(x, scale * x @ rotation) == pytest.approx(1)
    assert linear_cka(y, x) == pytest.approx(linear_cka(x, y))


def test_cka_changes_with_the_scale_of_one_channel() -> None:
    x = noise(50, 3)
    assert linear_cka(x, x * torch.tensor([1.0, 1.0, 10.0])) < 0.9


def test_float32_with_a_large_mean() -> None:
    x, y = (noise(60, 4, seed).float() + 1e5 for seed in (0, 1))
    exact = (each.double() - 1e5 for each in (x, y))
    assert linear_cka(x, y) == pytest.approx(by_hsic(*exact), abs=1e-9)


def test_dead_channels_do_not_count_and_a_dead_layer_has_no_cka() -> None:
    """The mean of 0.1 is not 0.1 in floating point: what is left of it must not count."""
    x, y = noise(30, 3).float(), noise(30, 4, seed=1).float()
    padded = torch.cat([x, torch.full((30, 2), 0.1)], 1)
    assert linear_cka(padded, y) == pytest.approx(linear_cka(x, y), abs=1e-12)
    for images in (3, 30):  # both ways of computing it
        dead = torch.full((images, 5), 0.1)
        assert math.isnan(linear_cka(dead, noise(images, 5)))
        assert math.isnan(linear_cka(noise(images, 5), dead))
        assert math.isnan(linear_cka(dead, dead))


def layers(seed: int, *channels: int, images: int = 12) -> dict[str, Tensor]:
    return {f"conv{i}": noise(images, count, seed + i) for i, count in enumerate(channels)}


def test_the_table_has_every_pair() -> None:
    a, b = layers(0, 3, 40, 7), layers(10, 5, 50)
    b["conv1"][:, :3] = a["conv0"]
    table = cka_table(a, b)
    assert table.dtype == torch.float64
    assert table.tolist() == [
        [pytest.approx(by_hsic(x, y), abs=1e-9) for y in b.values()] for x in a.values()
    ]
    assert cka_table(a, {}).shape == (3, 0)
    assert cka_table({}, b).shape == (0, 2)


@pytest.mark.parametrize(("images", "products"), [(100, 5 + 6), (6, 5 + 2 * 6)])
def test_the_terms_of_each_layer_are_computed_once(
    monkeypatch: pytest.MonkeyPatch, images: int, products: int
) -> None:
    """Three layers and two: five terms of their own, six of pairs, each of them Y'X, or XX' and
    YY'."""
    calls = []

    def counted(product: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *layers: calls.append(product) or product(*layers)

    for name in ("channel_products", "image_products"):
        monkeypatch.setattr(cka, name, counted(getattr(cka, name)))
    cka_table(layers(0, 20, 20, 20, images=images), layers(10, 20, 20, images=images))
    assert len(calls) == products


@pytest.mark.parametrize("at_once", [1, 37, 10**9])
@pytest.mark.parametrize("images", [8, 60])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int, images: int) -> None:
    x, y = noise(images, 20) + 100, noise(images, 30, seed=1)
    monkeypatch.setattr(centered, "AT_ONCE", at_once)
    assert linear_cka(x, y) == pytest.approx(by_hsic(x - 100, y), abs=1e-9)


def test_the_message_names_the_layer() -> None:
    a, b = layers(0, 3, 4), layers(10, 5, 6)
    b["conv1"][2, 5] = math.nan
    with pytest.raises(InputError, match=r"^layers_b\['conv1'\]: channel 5 holds a value"):
        cka_table(a, b)
    b["conv1"] = noise(11, 4)
    with pytest.raises(InputError, match=r"^layers_b\['conv1'\]: activations of 11 images, and la"):
        cka_table(a, b)
