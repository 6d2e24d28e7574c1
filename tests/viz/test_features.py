"""Every projection stands at its place beside its own patch, on its own scale."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zfnet.errors import InputError
from zfnet.viz import (
    FeaturePanel,
    evolution_sheet,
    feature_sheet,
    normalize_signed,
    stretch_contrast,
)
from zfnet.viz.evolution import FRAME
from zfnet.viz.grid import (
    MARK,
    center,
    draw_text,
    filter_sheet,
    fit,
    flow,
    hstack,
    to_rgb,
    to_uint8,
    vstack,
)
from zfnet.viz.page import GAP, GRID_GAP

Place = tuple[int, int]
WHITE = 0xFFFFFF


def panel(
    number: int = 0, k: int = 9, h: int = 7, w: int | None = None, kernel: int | None = None
) -> FeaturePanel:
    g = torch.Generator().manual_seed(number)
    size = (k, 3, h, w or h)
    return FeaturePanel(
        number,
        torch.randn(size, generator=g),
        torch.rand(size, generator=g),
        torch.arange(k, 0, -1).float(),
        torch.randn(3, kernel, kernel, generator=g) if kernel else None,
    )


def evolution(m: int, e: int, h: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(m * e)
    size = (m, e, 3, h, h)
    return torch.randn(size, generator=g), torch.rand(size, generator=g), torch.zeros(m, e).bool()


def enlarged(picture: Tensor, factor: int) -> Tensor:
    """(3, h, w) in [0, 1] → (factor * h, factor * w, 3) uint8, each pixel repeated."""
    return to_uint8(picture).repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def packed(image: Tensor) -> Tensor:
    """(H, W, 3) uint8 → (H, W), one number a colour; what is packed already stays."""
    if image.dim() == 2:
        return image
    return (image.int() * torch.tensor([1 << 16, 1 << 8, 1])).sum(-1)


def place(sheet: Tensor, box: Tensor) -> Place:
    """The one place where the box stands in the sheet, byte for byte, found by its first coloured
    pixel."""
    whole, part = packed(sheet), packed(box)
    height, width = part.shape
    first_y, first_x = (part != WHITE).nonzero()[0].tolist()
    starts = (whole == part[first_y, first_x]).nonzero() - torch.tensor([first_y, first_x])
    found = [
        (y, x)
        for y, x in starts.tolist()
        if min(y, x) >= 0 and whole[y : y + height, x : x + width].equal(part)
    ]
    assert len(found) == 1, f"{len(found)} places"
    return found[0]


def cells(origin: Place, count: int, across: int, step: tuple[int, int]) -> list[Place]:
    return [
        (origin[0] + i // across * step[0], origin[1] + i % across * step[1]) for i in range(count)
    ]


def is_marked(sheet: Tensor, at: Place, height: int, width: int) -> bool:
    """Whether a frame goes round the box; it goes wholly or not at all."""
    y, x = at
    around = sheet[y - FRAME : y + height + FRAME, x - FRAME : x + width + FRAME].clone()
    inside = torch.zeros(around.shape[:2], dtype=torch.bool)
    inside[FRAME:-FRAME, FRAME:-FRAME] = True
    red = (around == torch.tensor(MARK, dtype=torch.uint8)).all(-1)[~inside]
    white = around.eq(255).all(-1)[~inside]
    assert red.all() or white.all()
    return bool(red.all())


# --- Figure 2 ---


@pytest.mark.parametrize(("h", "factor"), [(7, 8), (27, 2)])
def test_each_projection_and_its_patch_stand_at_the_same_place_of_their_grids(
    h: int, factor: int
) -> None:
    """16 maps in 4 x 4 blocks, nine and nine, each pixel a square of its own colour."""
    panels = [panel(i, h=h) for i in range(16)]
    sheet = packed(feature_sheet("conv", panels, width=1600))
    side = factor * h + GAP
    origins = []
    for one in panels:
        at = [
            place(sheet, enlarged(stretch_contrast(picture), factor)) for picture in one.projections
        ]
        assert at == cells(at[0], 9, 3, (side, side))
        beside_it = [(y, x + 3 * side - GAP + GRID_GAP) for y, x in at]
        assert [place(sheet, enlarged(patch, factor)) for patch in one.patches] == beside_it
        origins.append(at[0])
    step = (origins[4][0] - origins[0][0], origins[1][1] - origins[0][1])
    assert step[0] > 3 * side
    assert step[1] > 6 * side
    assert origins == cells(origins[0], 16, 4, step)


@pytest.mark.parametrize("h", [7, 27, 75, 107, 139, 224])
@pytest.mark.parametrize("width", [1200, 1600])
def test_sixteen_maps_keep_to_the_width(h: int, width: int) -> None:
    sheet = feature_sheet(
        "a title", [panel(i, h=h, kernel=7 if h == 7 else None) for i in range(16)], width
    )
    assert sheet.dtype == torch.uint8
    assert sheet.is_contiguous()
    rows, columns, channels = sheet.shape
    assert channels == 3
    assert width / 2 < columns <= width
    assert columns / 3 < rows < columns
    for edge in (sheet[:8], sheet[-8:], sheet[:, :8], sheet[:, -8:]):
        assert edge.eq(255).all()


def test_few_large_windows_stay_as_they_are() -> None:
    one = panel(h=139, k=2)
    sheet = feature_sheet("conv5", [one])
    for picture, patch in zip(one.projections, one.patches, strict=True):
        assert (
            place(sheet, to_uint8(stretch_contrast(picture)))[0] == place(sheet, to_uint8(patch))[0]
        )


def test_each_picture_has_its_own_scale() -> None:
    one = panel()
    sheet = feature_sheet("conv1", [one])
    factors = torch.tensor([10.0, 1, 1e-3, 2, 1, 1e4, 1, 1, 0.5])[:, None, None, None]
    louder = FeaturePanel(0, one.projections * factors, one.patches, one.values)
    assert feature_sheet("conv1", [louder]).equal(sheet)
    other = FeaturePanel(0, one.projections * -factors, one.patches, one.values)
    assert not feature_sheet("conv1", [other]).equal(sheet)


@pytest.mark.parametrize("h", [7, 139])
def test_zero_is_plain_grey(h: int) -> None:
    """Also where pictures are reduced: no rounding turns 128 into 127."""
    blank = FeaturePanel(0, torch.zeros(9, 3, h, h), torch.zeros(9, 3, h, h), torch.zeros(9))
    sheet = feature_sheet("dead", [blank] * 16)
    grey = sheet.eq(128).all(-1)
    assert int(grey.sum()) >= 16 * 9 * 42**2
    darker = sheet.eq(127).all(-1)
    assert int(darker.sum()) < 50, "letters only"
    assert feature_sheet(
        "dead", [FeaturePanel(0, -blank.projections, blank.patches, blank.values)] * 16
    ).equal(sheet)


def test_missing_pictures_are_white() -> None:
    """Grids have the cells of the fullest panel; a map that was never active is a caption alone."""
    full, fewer, none = panel(1, 9), panel(2, 4), panel(3, 0)
    sheet = feature_sheet("few", [full, fewer, none])
    at = [place(sheet, enlarged(stretch_contrast(picture), 12)) for picture in fewer.projections]
    side = 7 * 12 + GAP
    assert at == cells(at[0], 4, 3, (side, side))
    for y, x in cells(at[0], 9, 3, (side, side))[4:]:
        assert sheet[y : y + side, x : x + side].eq(255).all()
        right = x + 3 * side - GAP + GRID_GAP
        assert sheet[y : y + side - GAP, right : right + side - GAP].eq(255).all()
    assert place(sheet, enlarged(stretch_contrast(full.projections[0]), 12))[0] == at[0][0]
    y, x = place(sheet, enlarged(stretch_contrast(full.projections[0]), 12))
    caption = place(sheet, draw_text("channel 3 · none"))
    assert caption[1] == x
    assert sheet[caption[0] + 20 :, :].eq(255).all()
    assert feature_sheet("nothing", [none]).shape[1] > 400


def test_captions_name_the_map_and_its_largest_activation() -> None:
    base = panel(12, 3)
    for values, text in (
        ([3.0, 34.14, 2.0], "channel 12 · max 34.1"),
        ([0.25, 0.1, 0.1], "channel 12 · max 0.25"),
        ([12345.6, 1.0, 1.0], "channel 12 · max 12346"),
    ):
        one = FeaturePanel(12, base.projections, base.patches, torch.tensor(values))
        sheet = feature_sheet("conv2", [one])
        first = place(sheet, enlarged(stretch_contrast(one.projections[0]), 12))
        assert place(sheet, draw_text(text)) == (
            first[0] - GAP - draw_text(text).shape[0],
            first[1],
        )
        place(sheet, draw_text("conv2", size=20, bold=True))


def test_filters_stand_left_of_the_grids_enlarged_exactly() -> None:
    with_filter, without = panel(0, kernel=7), panel(1)
    sheet = feature_sheet("conv1", [with_filter, without])
    assert with_filter.filter is not None
    y, x = place(sheet, enlarged(normalize_signed(with_filter.filter), 24))
    first, second = (
        place(sheet, enlarged(stretch_contrast(p.projections[0]), 12))
        for p in (with_filter, without)
    )
    assert x + 24 * 7 + GRID_GAP == first[1]
    assert y + 12 * 7 == first[0] + (3 * 12 * 7 + 2 * GAP) // 2
    caption = place(sheet, draw_text("channel 1 · max 9"))
    assert second[1] - caption[1] == first[1] - x
    assert sheet[second[0] :, caption[1] : second[1]].eq(255).all()


def test_pictures_need_not_be_square() -> None:
    one = panel(h=5, w=9, k=4)
    sheet = feature_sheet("wide", [one])
    at = [place(sheet, enlarged(stretch_contrast(picture), 9)) for picture in one.projections]
    assert at == cells(at[0], 4, 2, (45 + GAP, 81 + GAP))


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 1, 1]), (5, [0, 1, 2])])
def test_any_number_of_channels_is_drawn_as_three(channels: int, shown: list[int]) -> None:
    """The scale of a projection is that of all its channels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, channels, 7, 9, generator=generator)
    assert torch.equal(to_rgb(images), images[:, shown])
    drawn = to_uint8(images[0])
    assert torch.equal(drawn, to_uint8(images[0][shown]))
    sheet = feature_sheet("conv1", [FeaturePanel(0, images - 0.5, images, torch.ones(2))])
    place(sheet, enlarged(stretch_contrast(images[0] - 0.5)[shown], 9))
    assert filter_sheet(images).shape[2] == 3


def test_patches_are_clipped() -> None:
    one = panel()
    patches = one.patches * 3 - 1
    assert patches.min() < 0
    assert patches.max() > 1
    sheets = [
        feature_sheet("conv1", [FeaturePanel(0, one.projections, seen, one.values)])
        for seen in (patches, patches.clamp(0, 1))
    ]
    assert sheets[0].equal(sheets[1])


def test_the_own_position_of_a_unit_is_framed_in_its_patch() -> None:
    """A patch of 7 x 7 pixels is drawn twelve times as large; its middle row and column is framed.
    In the corner of the second patch, the frame lies inside."""
    one = panel(k=2)
    parts = [(3 / 7, 3 / 7, 4 / 7, 4 / 7), (0.0, 0.0, 1 / 7, 1 / 7)]
    plain, framed = (
        feature_sheet(
            "conv5", [FeaturePanel(0, one.projections, one.patches, one.values, parts=each)]
        )
        for each in ((), parts)
    )
    red = torch.tensor(MARK, dtype=torch.uint8)
    for image, (first, last) in zip(one.patches, [(35, 48), (0, 12)], strict=True):
        expected = enlarged(image, 12)
        expected[[first, last], first : last + 1] = red
        expected[first : last + 1, [first, last]] = red
        assert place(framed, expected)[1] == place(plain, enlarged(image, 12))[1]
    with pytest.raises(InputError, match="channel 0: 1 parts for 2 patches"):
        FeaturePanel(0, one.projections, one.patches, one.values, parts=parts[:1])


def test_what_is_drawn_is_left_alone() -> None:
    """Gradients, half precision and views are welcome, and nothing is changed in place."""
    one = panel()
    kept = one.projections.clone(), one.patches.clone()
    sheet = feature_sheet("conv1", [one])
    assert torch.equal(one.projections, kept[0])
    assert torch.equal(one.patches, kept[1])
    doubles = FeaturePanel(
        0, one.projections.double().requires_grad_(), one.patches.double(), one.values
    )
    assert feature_sheet("conv1", [doubles]).equal(sheet)
    feature_sheet(
        "conv1", [FeaturePanel(0, one.projections.bfloat16(), one.patches.half(), one.values)]
    )


def test_long_titles_run_over_lines_in_a_narrow_sheet() -> None:
    short, long = (feature_sheet(title, [panel(k=1)]) for title in ("a", "many words " * 20))
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0] + 50
    assert feature_sheet("", [panel(k=1)]).shape == short.shape


# --- Figure 4 ---


@pytest.mark.parametrize(("m", "e", "factor"), [(6, 8, 12), (3, 2, 12), (1, 3, 12), (16, 10, 8)])
def test_rows_are_maps_and_columns_are_epochs(m: int, e: int, factor: int) -> None:
    """The patch beneath its projection; the map's number at the left, the epoch on top."""
    pictures, patches, jumped = evolution(m, e)
    epochs, maps = [10 + 3 * i for i in range(e)], [100 + i for i in range(m)]
    sheet = packed(evolution_sheet("conv1", epochs, maps, pictures, patches, jumped, width=1600))
    side = factor * 7
    at = {
        c: place(sheet, enlarged(stretch_contrast(pictures[c]), factor))
        for c in product(range(m), range(e))
    }
    for c, (y, x) in at.items():
        assert place(sheet, enlarged(patches[c], factor)) == (y + side + GAP, x)
        assert (y, x) == (at[c[0], 0][0], at[0, c[1]][1])
    assert [at[i, 0][0] for i in range(m)] == sorted(at[i, 0][0] for i in range(m))
    assert [at[0, j][1] for j in range(e)] == sorted(at[0, j][1] for j in range(e))
    for i, number in enumerate(maps):
        label = draw_text(f"channel {number}")
        y, x = place(sheet, label)
        assert abs(y + label.shape[0] / 2 - (at[i, 0][0] + side + GAP / 2)) <= 1
        assert x + label.shape[1] < at[i, 0][1]
    for j, epoch in enumerate(epochs):
        label = draw_text(f"epoch {epoch}")
        y, x = place(sheet, label)
        assert y + label.shape[0] <= at[0, j][0]
        assert abs(x + label.shape[1] / 2 - (at[0, j][1] + side / 2)) <= 1


def test_a_single_epoch_is_a_strip() -> None:
    pictures, patches, jumped = evolution(8, 1)
    jumped[5] = True
    sheet = evolution_sheet("conv1", [64], list(range(8)), pictures, patches, jumped)
    at = [place(sheet, enlarged(stretch_contrast(picture), 12)) for picture in pictures[:, 0]]
    assert {y for y, _ in at} == {at[0][0]}
    assert [x for _, x in at] == sorted({x for _, x in at})
    assert [is_marked(sheet, place_, 2 * 84 + GAP, 84) for place_ in at] == [
        i == 5 for i in range(8)
    ]
    assert place(sheet, draw_text("epoch 64"))[1] < at[0][1]
    assert place(sheet, draw_text("channel 7"))[0] < at[7][0]


def test_only_the_cells_that_jumped_are_framed() -> None:
    pictures, patches, jumped = evolution(4, 5)
    jumped[0, 0], jumped[1, 3], jumped[1, 4], jumped[3, 2] = True, True, True, True
    sheet = evolution_sheet("conv1", list(range(1, 6)), list(range(4)), pictures, patches, jumped)
    for c in product(range(4), range(5)):
        at = place(sheet, enlarged(stretch_contrast(pictures[c]), 12))
        assert is_marked(sheet, at, 2 * 84 + GAP, 84) == bool(jumped[c])
    still = evolution_sheet(
        "conv1", list(range(1, 6)), list(range(4)), pictures, patches, jumped & False
    )
    assert still.shape == sheet.shape
    red = torch.tensor(MARK, dtype=torch.uint8)
    ring = 2 * FRAME * (2 * 84 + GAP + 84 + 2 * FRAME)
    assert int((sheet == red).all(-1).sum()) - int((still == red).all(-1).sum()) == 4 * ring
    assert (still == red).all(-1).any(), "the legend explains the frame"


@pytest.mark.parametrize("h", [7, 27, 75, 107, 139])
@pytest.mark.parametrize(("m", "e"), [(6, 8), (8, 1), (16, 10)])
def test_evolution_keeps_to_width_and_height(h: int, m: int, e: int) -> None:
    for width in (1200, 1600):
        sheet = evolution_sheet(
            "c", list(range(e)), list(range(m)), *evolution(m, e, h), width=width
        )
        rows, columns, channels = sheet.shape
        assert (sheet.dtype, channels) == (torch.uint8, 3)
        assert columns <= width
        assert rows <= 1.5 * width + 20


def test_evolution_scales_each_picture_and_clips_patches() -> None:
    pictures, patches, jumped = evolution(2, 3)
    pictures[0, 1] = 0
    epochs, maps = [1, 2, 5], [0, 9]
    sheet = evolution_sheet("conv1", epochs, maps, pictures, patches, jumped)
    assert evolution_sheet("conv1", epochs, maps, pictures * 10, patches, jumped).equal(sheet)
    y, x = place(sheet, enlarged(patches[0, 1], 12))
    assert sheet[y - GAP - 84 : y - GAP, x : x + 84].eq(128).all()
    wild = evolution_sheet("conv1", epochs, maps, pictures, patches * 4 - 2, jumped)
    tame = evolution_sheet("conv1", epochs, maps, pictures, (patches * 4 - 2).clamp(0, 1), jumped)
    assert wild.equal(tame)


# --- Refusals ---


@pytest.mark.parametrize(
    ("pictures", "patches", "values", "filters", "message"),
    [
        (
            (9, 0, 7, 7),
            (9, 0, 7, 7),
            9,
            None,
            r"channel 3: projections are \(k, C, h, w\), not \(9, 0, 7, 7\)",
        ),
        (
            (3, 7, 7),
            (3, 7, 7),
            3,
            None,
            r"channel 3: projections are \(k, C, h, w\), not \(3, 7, 7\)",
        ),
        ((9, 3, 0, 7), (9, 3, 0, 7), 9, None, r"not \(9, 3, 0, 7\)"),
        (
            (9, 3, 7, 7),
            (8, 3, 7, 7),
            9,
            None,
            r"patches \(8, 3, 7, 7\) do not match the projections \(9, 3, 7, 7\)",
        ),
        (
            (9, 3, 7, 7),
            (9, 3, 7, 7),
            8,
            None,
            r"3: 9 projections but values of shape \(8,\)",
        ),
        (
            (9, 3, 7, 7),
            (9, 3, 7, 7),
            9,
            (1, 3, 7, 7),
            r"a filter is \(3, kh, kw\), not \(1, 3, 7, 7\)",
        ),
        ((9, 3, 7, 7), (9, 3, 7, 7), 9, (96, 5, 5), r"a filter is \(3, kh, kw\), not \(96, 5, 5\)"),
        ((9, 3, 7, 7), (9, 3, 7, 7), 9, (3, 0, 5), r"a filter is \(3, kh, kw\), not \(3, 0, 5\)"),
    ],
)
def test_panels_of_wrong_shape_are_refused(
    pictures: tuple[int, ...],
    patches: tuple[int, ...],
    values: int,
    filters: tuple[int, ...] | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message) as error:
        FeaturePanel(
            3,
            torch.zeros(pictures),
            torch.zeros(patches),
            torch.zeros(values),
            None if filters is None else torch.zeros(filters),
        )
    assert "\n" not in str(error.value)


def test_numbers_that_no_picture_can_show_are_refused() -> None:
    fine, values = torch.zeros(1, 3, 7, 7), torch.zeros(1)
    for pictures, patches, kind in (
        (fine / 0, fine, "projections"),
        (fine, fine + math.inf, "patches"),
        (fine, fine.to(torch.uint8), "patches"),
    ):
        with pytest.raises(
            InputError, match=f"channel 0: {kind} must be finite floating-point numbers"
        ):
            FeaturePanel(0, pictures, patches, values)
    with pytest.raises(InputError, match="channel 0: a filter must be finite"):
        FeaturePanel(0, fine, fine, values, torch.full((3, 7, 7), math.nan))


def test_sheets_of_unlike_panels_or_of_none_are_refused() -> None:
    with pytest.raises(InputError, match="at least one map"):
        feature_sheet("conv1", [])
    with pytest.raises(InputError, match=r"have one size, not \(7, 7\) and \(27, 27\)"):
        feature_sheet("conv1", [panel(h=27), panel(h=7)])


def test_evolutions_of_wrong_shape_are_refused() -> None:
    pictures, patches, jumped = evolution(2, 3)
    epochs, maps = [1, 2, 5], [0, 9]
    refused = [
        (
            (epochs, maps, pictures[0], patches[0], jumped),
            r"\(channels, epochs, C, h, w\), not \(3, 3, 7, 7\)",
        ),
        ((epochs, maps, pictures, patches[:1], jumped), r"patches \(1, 3, 3, 7, 7\) do not match"),
        (
            (maps, epochs, pictures, patches, jumped),
            r"\(2, 3, 3, 7, 7\) are not of 3 channels at 2 epochs",
        ),
        ((epochs, maps, pictures, patches, jumped.T), r"jumped is \(2, 3\) of bool, not \(3, 2\)"),
        ((epochs, maps, pictures, patches, jumped.float()), "of bool, not .* of torch.float32"),
        (
            ([], maps, pictures[:, :0], patches[:, :0], jumped[:, :0]),
            "at least one channel and one epoch",
        ),
        ((epochs, maps, pictures / 0, patches, jumped), "evolution: projections must be finite"),
    ]
    for arguments, message in refused:
        with pytest.raises(InputError, match=message):
            evolution_sheet("conv1", *arguments)


# --- What sheets are put together from ---


@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(1, 90))
def test_fitted_is_the_largest_whole_enlargement_or_fits_exactly(
    height: int, width: int, side: int
) -> None:
    picture = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height))
    out = fit(picture, side)
    longer, factor = max(height, width), side // max(height, width)
    if factor:
        assert out.equal(picture.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
    else:
        assert max(out.shape[-2:]) == side
        assert abs(min(out.shape[-2:]) - max(1, min(height, width) * side / longer)) <= 0.5
        assert fit(torch.full_like(picture, 0.5), side).eq(0.5).all()
        torch.testing.assert_close(
            fit(torch.full_like(picture, 0.2), side), torch.full_like(out, 0.2)
        )


def test_a_reduction_averages() -> None:
    """A checkerboard finer than the pixels becomes grey, not a moiré of its own."""
    board = ((torch.arange(128)[:, None] + torch.arange(128)) % 2).float().expand(1, 3, 128, 128)
    assert (fit(board, 32)[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.01


def test_boxes_stand_beside_and_above_each_other() -> None:
    a, b = (
        torch.full((2, 3, 3), 10, dtype=torch.uint8),
        torch.full((4, 1, 3), 20, dtype=torch.uint8),
    )
    W = 255
    assert hstack([a, b], gap=2)[..., 0].tolist() == [
        [10, 10, 10, W, W, 20],
        [10, 10, 10, W, W, 20],
        [W, W, W, W, W, 20],
        [W, W, W, W, W, 20],
    ]
    assert vstack([b, a])[..., 1].tolist() == [[20, W, W]] * 4 + [[10, 10, 10]] * 2
    assert (
        center(b, height=7, width=4)[..., 2].tolist()
        == [[W] * 4] + [[W, 20, W, W]] * 4 + [[W] * 4] * 2
    )
    assert center(a, height=1, width=1).equal(a)


def test_words_flow_into_lines() -> None:
    words = [torch.zeros(5, width, 3, dtype=torch.uint8) for width in (4, 4, 4, 30, 2)]
    assert flow(words, width=14, gap=3).shape == (20, 30, 3)  # 4 3 4 | 4 | 30 | 2
    assert flow(words, width=80, gap=3).shape == (5, 56, 3)


def test_lines_of_text_have_one_height() -> None:
    assert {draw_text(text).shape[0] for text in ("", "a", "gjpÅ", "−0·")} == {
        draw_text("M").shape[0]
    }
    assert draw_text("wide enough").shape[1] > draw_text("wide").shape[1] > 20
    assert draw_text("a").min() < 64
    assert not draw_text("a").equal(draw_text("a", bold=True))
