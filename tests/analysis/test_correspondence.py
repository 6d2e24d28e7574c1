"""Table 1's sign changes, by hand, by a loop, and on nets whose answer is known."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from zfnet.analysis import correspondence, random_places
from zfnet.analysis.correspondence import (
    corners,
    free_places,
    mask_square,
    normalized_hamming,
    sign_changes,
)
from zfnet.errors import InputError


def random_images(count: int, side: int = 12, seed: int = 4) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def small_net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * 144, 9),
        nn.ReLU(),
    )


def test_hamming_by_hand() -> None:
    """+ + - 0 against + - 0 0: two of four disagree; of the three that changed in either, two."""
    signs = torch.tensor([[1, 1, -1, 0], [1, -1, 0, 0], [0, 0, 0, 0]], dtype=torch.int8)
    whole, changed = normalized_hamming(signs)
    assert whole.tolist() == [[0, 0.5, 0.75], [0.5, 0, 0.5], [0.75, 0.5, 0]]
    assert changed.tolist() == [[0, 2 / 3, 1], [2 / 3, 0, 1], [1, 1, 0]]


rows = st.integers(1, 9).flatmap(
    lambda n: st.lists(st.lists(st.integers(-1, 1), min_size=n, max_size=n), min_size=2, max_size=4)
)


@given(rows=rows)
def test_hamming_against_a_loop(rows: list[list[int]]) -> None:
    whole, changed = normalized_hamming(torch.tensor(rows, dtype=torch.int8))
    assert torch.equal(whole, whole.T)
    for i, j in combinations(range(len(rows)), 2):
        pairs = list(zip(rows[i], rows[j], strict=True))
        differ, either = sum(a != b for a, b in pairs), sum(a != 0 or b != 0 for a, b in pairs)
        assert whole[i, j].item() == pytest.approx(differ / len(pairs))
        assert changed[i, j].item() == pytest.approx(differ / either if either else 0)
        assert 0 <= whole[i, j] <= changed[i, j] <= 1


def test_a_mask_covers_its_square_and_is_cut_at_the_border() -> None:
    x = torch.ones(2, 3, 6, 8)
    covered = mask_square(x, torch.tensor([[4.0, 2.0], [0.0, 5.0]]), side=3, fill=0.25)
    expected = torch.ones(2, 6, 8)
    expected[0, 1:4, 3:6] = 0.25
    expected[1, 4:6, 0:2] = 0.25
    assert torch.equal(covered, expected[:, None].expand(-1, 3, -1, -1))
    assert x.eq(1).all()
    # An even side around a pixel's corner.
    assert corners(torch.tensor([[4.5, 2.5]]), 4).tolist() == [[3, 1]]


def test_signs_against_the_definition() -> None:
    net, images = small_net(), random_images(3)
    places = torch.tensor([[[3.0, 4], [6, 6], [11, 0]], [[8, 8], [2, 2], [5, 9]]])
    found = sign_changes(net, images, places, ["0", "4"], side=4, fill=0.1)
    for row, each in enumerate(places):
        for layer, part in (("0", net[:1]), ("4", net[:5])):
            with torch.no_grad():
                eps = part(images.clone()) - part(mask_square(images, each, 4, 0.1))
            eps[eps.abs() < 1e-5] = 0
            assert torch.equal(found[layer][row], eps.flatten(1).sign().to(torch.int8))


def test_the_whole_against_a_loop() -> None:
    net, images, side = small_net(), random_images(4), 4
    parts = {
        "eye": torch.tensor([[2.0, 2], [3, 2], [2, 3], [4, 4]]),
        "nose": torch.full((4, 2), 6.0),
    }
    control = random_places(parts, 12, side, draws=3)
    found = correspondence(net, images, parts, control, ["4"], side, permutations=99)["4"]
    signs = sign_changes(net, images, torch.stack([*parts.values(), *control]), ["4"], side)["4"]

    def over_pairs(places: list[int]) -> tuple[float, float]:
        distances = [
            (signs[p, i] != signs[p, j]).float().mean().item()
            for p in places
            for i, j in combinations(range(4), 2)
        ]
        mean = sum(distances) / len(distances)
        return mean, math.sqrt(sum((d - mean) ** 2 for d in distances) / len(distances))

    for name, rows in (("eye", [0]), ("nose", [1]), ("random", [2, 3, 4])):
        assert (found[name].mean, found[name].std) == pytest.approx(over_pairs(rows))
    assert found["random"].p is None
    assert found == correspondence(net, images, parts, control, ["4"], side, permutations=99)["4"]


def test_a_net_that_knows_the_part_and_one_that_does_not() -> None:
    """The part is a bright spot that all images share, on noise; the features are random sums of
    pixels. Where the noise is faint, the spot changes every feature alike, and with no spot it is
    one square as any other."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 300))
    parts = {"spot": torch.full((6, 2), 3.0)}
    control = random_places(parts, 12, 3, draws=8)
    images = random_images(6) * 0.1
    images[:, :, 2:5, 2:5] += 1
    known = correspondence(net, images, parts, control, ["1"], 3, permutations=499)["1"]
    assert known["spot"].mean < 0.1 < 0.4 < known["random"].mean < 0.6
    assert known["spot"].p == known["spot"].p_of_changed == 1 / 500
    unknown = correspondence(net, random_images(6), parts, control, ["1"], 3, permutations=499)["1"]
    assert 0.4 < unknown["spot"].mean < 0.6
    assert unknown["spot"].p > 0.02


def test_p_is_uniform_where_nothing_is_known() -> None:
    """Over many unrelated nets and images, p is below one half about half of the time, and hardly
    ever tiny."""
    ps = []
    for seed in range(60):
        torch.manual_seed(seed)
        net, images = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 20)), torch.randn(4, 3, 8, 8)
        places = torch.randint(1, 7, (6, 4, 2)).float()
        found = correspondence(
            net, images, {"a": places[0]}, places[1:], ["1"], 3, permutations=99, seed=seed
        )
        ps.append(found["1"]["a"].p)
    assert 0.3 < sum(p <= 0.5 for p in ps) / 60 < 0.7
    assert sum(p <= 0.05 for p in ps) <= 8


@given(
    parts=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), min_size=1, max_size=3),
    side=st.integers(1, 6),
    seed=st.integers(0, 9),
)
def test_squares_by_lot_lie_inside_and_away_from_the_parts(
    parts: list[tuple[int, int]], side: int, seed: int
) -> None:
    places = {str(n): torch.tensor([[float(x), float(y)]] * 2) for n, (x, y) in enumerate(parts)}
    drawn = random_places(places, 20, side, draws=4, seed=seed)
    assert torch.equal(drawn, random_places(places, 20, side, draws=4, seed=seed))
    grey = 1 - mask_square(torch.ones(8, 1, 20, 20), drawn.reshape(8, 2), side)
    assert grey.sum((1, 2, 3)).eq(side**2).all()
    for each in places.values():
        assert not (
            grey * (1 - mask_square(torch.ones(8, 1, 20, 20), each[:1].expand(8, 2), side))
        ).any()


def test_squares_by_lot_keep_to_what_is_allowed() -> None:
    allowed = torch.zeros(2, 20, 20, dtype=torch.bool)
    allowed[0, 4, 15] = allowed[1, 12, 3] = True
    drawn = random_places({"nose": torch.full((2, 2), 9.0)}, 20, 5, draws=2, allowed=allowed)
    assert drawn.tolist() == [[[15, 4], [3, 12]]] * 2
    assert free_places(torch.tensor([[9.0, 9.0]]), 20, 20, 20).sum() == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {
                "images": random_images(1),
                "parts": {"nose": torch.ones(1, 2)},
                "control": torch.ones(2, 1, 2),
            },
            "at least two are needed",
        ),
        ({"images": random_images(3) / 0 * 0}, "NaN"),
        ({"side": 13}, "does not fit"),
        ({"parts": {"nose": torch.tensor([[1.0, 1], [2, 2], [11.6, 3]])}}, "inside 12 x 12 pixels"),
        ({"parts": {"nose": torch.full((3, 2), torch.nan)}}, "inside 12 x 12 pixels"),
        ({"parts": {"nose": torch.ones(2, 2)}}, "for each of 3 images"),
        ({"control": torch.ones(0, 3, 2)}, "control is \\(draws, 3, 2\\), at least one draw"),
        ({"control": torch.ones(2, 1, 2)}, "for each of 3 images"),
        ({"parts": {"random": torch.ones(3, 2)}}, "the control"),
        ({"layers": ["7"]}, "layer '7' is not in Sequential"),
    ],
)
def test_errors(change: dict, says: str) -> None:
    words = {
        "images": random_images(3),
        "parts": {"nose": torch.ones(3, 2)},
        "control": torch.full((2, 3, 2), 8.0),
    }
    words |= {"layers": ["0"], "side": 3} | change
    with pytest.raises(InputError, match=says):
        correspondence(small_net(), **words)


def test_errors_of_the_lot() -> None:
    nose = {"nose": torch.full((1, 2), 5.0)}
    with pytest.raises(InputError, match="a patch of 13 pixels does not fit an image of 12"):
        random_places(nose, 12, 13, draws=1)
    with pytest.raises(InputError, match="no room for a patch of 8 pixels"):
        random_places(nose, 12, 8, draws=1)
    with pytest.raises(InputError, match="draws=0"):
        random_places(nose, 12, 3, draws=0)
