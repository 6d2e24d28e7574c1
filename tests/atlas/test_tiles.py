"""Tiles: 0 is mid-gray, their scale does not matter, and a sheet holds each where it belongs."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from zfnet.atlas.tiles import SIDE, blank, patch_tiles, projection_tiles, sheet, webp
from zfnet.viz.grid import fit, normalize_signed, stretch_contrast, to_uint8

GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("side", [7, 27, 72, 139])
def test_a_projection_of_zeros_is_gray(side: int) -> None:
    tiles = projection_tiles(torch.zeros(2, 3, side, side))
    assert (tiles == 128).all()
    assert torch.equal(tiles, blank((side, side), 2))


@pytest.mark.parametrize("side", [7, 27, 139])
def test_the_scale_of_a_projection_does_not_matter(side: int) -> None:
    projections = torch.randn(2, 3, side, side, generator=GENERATOR)
    projections[:, :, : side // 2] = 0
    tiles = projection_tiles(projections)
    for scale in (2.0**-60, 2.0**60):
        assert torch.equal(projection_tiles(projections * scale), tiles)
    assert (tiles[:, : max(1, tiles.shape[1] // 2 - 6)] == 128).all()


def test_small_windows_keep_their_pixels() -> None:
    projections = torch.randn(3, 3, 7, 7, generator=GENERATOR)
    expected = [to_uint8(stretch_contrast(each)) for each in projections]
    assert torch.equal(projection_tiles(projections), torch.stack(expected))
    patches = torch.rand(3, 3, 7, 7, generator=GENERATOR)
    assert torch.equal(patch_tiles(patches), torch.stack([to_uint8(each) for each in patches]))


def test_large_windows_are_reduced() -> None:
    projections = torch.randn(1, 3, 100, 150, generator=GENERATOR)
    tiles = projection_tiles(projections)
    assert tiles.shape == (1, 48, SIDE, 3)
    small = fit(normalize_signed(projections), SIDE) - 0.5
    assert torch.equal(tiles[0], to_uint8(stretch_contrast(small[0])))


def test_one_channel_is_gray() -> None:
    tiles = projection_tiles(torch.randn(1, 1, 9, 9, generator=GENERATOR))
    assert torch.equal(tiles[..., 0], tiles[..., 1])
    assert torch.equal(tiles[..., 0], tiles[..., 2])


def test_a_sheet_holds_tiles_in_rows() -> None:
    tiles = torch.randint(256, (2, 3, 4, 5, 3), generator=GENERATOR, dtype=torch.uint8)
    whole = sheet(tiles)
    assert whole.shape == (8, 15, 3)
    for row in range(2):
        for column in range(3):
            part = whole[4 * row : 4 * row + 4, 5 * column : 5 * column + 5]
            assert torch.equal(part, tiles[row, column])
    with Image.open(io.BytesIO(webp(whole, lossless=True))) as image:
        assert np.array_equal(np.asarray(image), whole)
