"""Near-duplicates: the correlations against their definitions, planted copies found, others not."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from torch import Tensor

from zfnet.analysis import overlap
from zfnet.analysis.overlap import concatenate_pairs, fine_correlation, near_duplicates, shrink
from zfnet.data import Creatures
from zfnet.data.datasets import folder
from zfnet.data.decoding import resize_and_crop
from zfnet.errors import InputError

SIDE = 128  # of stored images


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def brighter(image: Image.Image, factor: float = 1.1) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "quality 50": lambda image: jpeg(image, 50),
    "quality 75": lambda image: jpeg(image, 75),
    "quality 95": lambda image: jpeg(image, 95),
    "half": half,
    "mirrored": mirrored,
    "brighter": brighter,
    "darker": lambda image: brighter(image, 0.85),
    "half, quality 50": lambda image: jpeg(half(image), 50),
    "mirrored, half, brighter, quality 50": lambda image: jpeg(half(mirrored(brighter(image))), 50),
}


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def small(images: list[Image.Image]) -> Tensor:
    """As they come from a store."""
    return shrink(torch.stack([resize_and_crop(pixels(image), SIDE) for image in images]))


def noise(count: int, seed: int, coarse: int = 4) -> Tensor:
    """Smooth small images (count, 32, 32, 3), so that some pairs are alike."""
    numbers = (
        torch.rand(count, 3, coarse, coarse, generator=torch.Generator().manual_seed(seed)) * 255
    )
    smooth = torch.nn.functional.interpolate(numbers, 32, mode="bilinear")
    return smooth.to(torch.uint8).permute(0, 2, 3, 1)


@pytest.fixture(scope="module")
def creatures() -> list[Image.Image]:
    source = Creatures(36, size=160)
    return [Image.fromarray(source.read(i).permute(1, 2, 0).numpy()) for i in range(len(source))]


@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found_and_nothing_else(creatures: list[Image.Image], kind: str) -> None:
    """Recall 1, precision 1, each with its orientation."""
    copies = [COPIES[kind](image) for image in creatures[:24]]
    ((done, pairs),) = near_duplicates(small(creatures), small(copies))
    assert done == len(creatures)
    assert pairs.first.tolist() == pairs.second.tolist() == list(range(24))
    assert pairs.mirrored.tolist() == [kind.startswith("mirrored")] * 24


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), coarse=st.sampled_from([2, 4, 9]))
def test_the_coarse_step_is_normalized_correlation(seed: int, coarse: int) -> None:
    one, other = noise(6, seed, coarse), noise(5, seed + 1, coarse)

    def vector(image: Tensor) -> np.ndarray:
        return image.double().view(16, 2, 16, 2, 3).mean((1, 3)).flatten().numpy()

    best = torch.empty(6, 5)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            best[i, j] = max(np.corrcoef(vector(a), vector(each))[0, 1] for each in (b, b.flip(1)))
    i, j = overlap.coarse_pairs(overlap.to_halves(one), overlap.to_halves(other))
    found = torch.zeros(6, 5, dtype=torch.bool)
    found[i, j] = True
    sure = (best - overlap.COARSE).abs() > 1e-5
    assert found[sure].equal(best[sure] >= overlap.COARSE)


def detail(image: Tensor) -> Tensor:
    """The definition, pixel by pixel."""
    x = image.double()

    def around(maps: Tensor, i: int, j: int) -> Tensor:
        return maps[max(0, i - 4) : i + 5, max(0, j - 4) : j + 5].mean((0, 1))

    places = [(i, j) for i in range(32) for j in range(32)]
    off = x - torch.stack([around(x, i, j) for i, j in places]).view(32, 32, 3)
    variance = off.square().mean(2)
    deviation = torch.stack([around(variance, i, j) for i, j in places]).view(32, 32, 1).sqrt()
    return off / (deviation + 16)


def test_the_fine_step_is_what_it_says() -> None:
    one = noise(3, 5, coarse=9)
    other = torch.cat([one[:1].flip(2), noise(2, 6, coarse=9)])
    correlation, is_mirrored = fine_correlation(one, other)
    for a, b, found, mirror in zip(one, other, correlation, is_mirrored, strict=True):
        both = [
            np.corrcoef(detail(a).flatten(), detail(each).flatten())[0, 1]
            for each in (b, b.flip(1))
        ]
        assert found.item() == pytest.approx(max(both), abs=1e-4)
        assert mirror == (both[1] > both[0])
    assert correlation[0] == pytest.approx(1, abs=1e-5)


def test_blocks_and_a_later_start_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = noise(11, 1, coarse=9)
    others = torch.cat([noise(4, 2), originals[3:9].flip(2), originals[:1]])
    ((_, whole),) = near_duplicates(originals, others)
    assert sorted(zip(whole.first.tolist(), whole.second.tolist(), strict=True)) == [
        (0, 10), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9),
    ]  # fmt: skip
    monkeypatch.setattr(overlap, "ROWS", 4)
    monkeypatch.setattr(overlap, "COLUMNS", 3)
    monkeypatch.setattr(overlap, "FINE_AT_ONCE", 2)
    blocks = list(near_duplicates(originals, others))
    assert [done for done, _ in blocks] == [4, 8, 11]
    later = [blocks[0][1], *(pairs for _, pairs in near_duplicates(originals, others, start=4))]
    for parts in ([pairs for _, pairs in blocks], later):
        pairs = concatenate_pairs(parts)
        order = (pairs.first * 100 + pairs.second).argsort()
        assert pairs.first[order].equal(whole.first)
        assert pairs.second[order].equal(whole.second)
        torch.testing.assert_close(pairs.correlation[order], whole.correlation)


@pytest.mark.parametrize(("rows", "columns"), [(100, 100), (4, 3), (3, 5)])
def test_a_set_with_itself_gives_each_pair_once(
    monkeypatch: pytest.MonkeyPatch, rows: int, columns: int
) -> None:
    monkeypatch.setattr(overlap, "ROWS", rows)
    monkeypatch.setattr(overlap, "COLUMNS", columns)
    own = noise(7, 3, coarse=9)
    own = torch.cat([own, own[2:3], own[5:6].flip(2), own[2:3]])
    pairs = concatenate_pairs([pairs for _, pairs in near_duplicates(own)])
    found = sorted(
        zip(pairs.first.tolist(), pairs.second.tolist(), pairs.mirrored.tolist(), strict=True)
    )
    assert found == [(2, 7, False), (2, 9, False), (5, 8, True), (7, 9, False)]


def test_pictures_without_contrast_have_no_copies() -> None:
    flat = torch.full((3, 32, 32, 3), 200, dtype=torch.uint8)
    assert not concatenate_pairs(
        [pairs for _, pairs in near_duplicates(flat, flat, threshold=0)]
    ).first.numel()


def test_errors() -> None:
    with pytest.raises(InputError, match=r"\(2, 3, 64, 64\)"):
        shrink(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(InputError, match="at least 32 pixels"):
        shrink(torch.zeros(2, 31, 31, 3, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"threshold=1\.5"):
        list(near_duplicates(noise(2, 1), threshold=1.5))


@pytest.fixture(scope="module")
def photos() -> dict[str, list[Image.Image]]:
    """Both splits of Imagenette; the val split has 1,000 different photos."""
    where = os.environ.get("ZFNET_REAL_DATA")
    if not where:
        pytest.skip("no real photos: set ZFNET_REAL_DATA")
    found = {}
    for split in ("train", "val"):
        source = folder(Path(where) / "imagenette", split)  # type: ignore[arg-type]
        found[split] = [Image.open(source.root / name).convert("RGB") for name in source.ids]
    return found


@pytest.mark.real
def test_copies_of_photos(photos: dict[str, list[Image.Image]]) -> None:
    chosen = photos["val"][::10]
    originals = small(chosen)
    for kind, copied in COPIES.items():
        ((_, pairs),) = near_duplicates(originals, small([copied(image) for image in chosen]))
        assert pairs.first.tolist() == pairs.second.tolist() == list(range(len(chosen))), kind


@pytest.mark.real
def test_different_photos_are_no_copies(photos: dict[str, list[Image.Image]]) -> None:
    """3,000,000 pairs between the splits and 500,000 within one."""
    val = small(photos["val"])
    for first, second in ((small(photos["train"]), val), (val, None)):
        ((_, pairs),) = near_duplicates(first, second, threshold=0.75)
        assert not pairs.first.numel()
