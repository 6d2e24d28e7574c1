"""Zero is mid-grey on one symmetric scale, and sheets keep every picture whole."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from zfnet.viz import draw_curves, filter_sheet, normalize_signed, save_png, tile
from zfnet.viz.grid import to_uint8


@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_signed_is_odd_linear_and_fills_its_range(values: list[float]) -> None:
    x = torch.tensor(values)
    shown = normalize_signed(x)
    largest = max(abs(value) for value in values)
    if largest < 1e-30:
        return  # next to the smallest float32, division by 2 * largest loses its digits
    for value, seen in zip(values, shown.tolist(), strict=True):
        assert seen == pytest.approx(0.5 + value / (2 * largest), abs=1e-6)
    assert max(abs(seen - 0.5) for seen in shown.tolist()) == 0.5
    torch.testing.assert_close(normalize_signed(-x) - 0.5, 0.5 - shown, rtol=0, atol=1e-7)


def test_zero_is_mid_grey() -> None:
    assert normalize_signed(torch.zeros(2, 3, 4, 4)).eq(0.5).all()
    assert normalize_signed(torch.tensor([0.0, 5.0, -2.0])).tolist() == [
        0.5,
        1.0,
        pytest.approx(0.3),
    ]
    assert to_uint8(torch.full((3, 1, 1), 0.5)).flatten().tolist() == [128] * 3  # 127.5, to even


@given(
    count=st.integers(1, 12),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    gap=st.integers(0, 2),
)
def test_tiled_keeps_every_picture_in_reading_order(
    count: int, height: int, width: int, gap: int
) -> None:
    pictures = (
        torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count)) / 2
    )
    sheet = tile(pictures, gap)
    cells = [
        sheet[:, y : y + height, x : x + width]
        for y in range(0, sheet.shape[1], height + gap)
        for x in range(0, sheet.shape[2], width + gap)
    ]
    assert torch.equal(torch.stack(cells[:count]), pictures)
    assert all(cell.eq(1).all() for cell in cells[count:])
    assert int((sheet != 1).sum()) == pictures.numel()
    columns = (sheet.shape[2] + gap) // (width + gap)
    assert columns**2 >= count > (columns - 1) ** 2
    assert len(cells) - count < columns


def test_filter_sheets_share_one_scale_and_enlarge_exactly() -> None:
    filters = torch.zeros(4, 3, 7, 7, requires_grad=True)
    with torch.no_grad():
        filters[0, 0, 3, 2], filters[3, 2, 0, 0] = 1.0, -0.5
    sheet = filter_sheet(filters)
    assert (sheet.dtype, sheet.shape) == (torch.uint8, (600, 600, 3))  # 15 pixels, 40 times
    small = sheet[::40, ::40]
    assert torch.equal(sheet, small.repeat_interleave(40, 0).repeat_interleave(40, 1))
    assert small[3, 2].tolist() == [255, 128, 128]
    assert small[8, 8].tolist() == [128, 128, 64]
    assert small[7].eq(255).all()
    assert small[0, 0].tolist() == [128] * 3


def test_pngs_hold_the_very_bytes(tmp_path: Path) -> None:
    picture = torch.randint(256, (5, 7, 3), dtype=torch.uint8)
    save_png(picture, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        assert torch.equal(
            torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(5, 7, 3), picture
        )


def test_curves_are_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss in nats, errors in per cent; an epoch that lacks a value leaves only that point out."""
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    history = [
        {"epoch": 1, "val/loss": 2.0, "val/top1_error": 0.5},
        {
            "epoch": 2,
            "val/loss": 1.0,
            "val/top1_error": 0.25,
            "train/loss": 1.5,
            "val/top5_error": 0.1,
        },
    ]
    draw_curves(history, tmp_path / "c.png")
    loss, error = figures[0].axes
    lines = {
        line.get_label(): line.get_xydata().tolist()
        for axes in (loss, error)
        for line in axes.lines
    }
    assert lines == {
        "train loss": [[2, 1.5]],
        "validation loss": [[1, 2.0], [2, 1.0]],
        "validation top-1 error": [[1, 50], [2, 25]],
        "validation top-5 error": [[2, 10]],
    }
    with Image.open(tmp_path / "c.png") as image:
        assert image.size == (1000, 400)


def test_curves_without_epochs_are_empty_axes(tmp_path: Path) -> None:
    draw_curves([], tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 0
