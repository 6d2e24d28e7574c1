"""Statistics of activations, against sums, sorting and counting pairs by hand."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from zfnet.analysis import ActivationStatistics, class_auc
from zfnet.deconv import Top, top_activations
from zfnet.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
VALUES = torch.rand(40, 3, generator=GENERATOR).sub(0.5).clamp(min=0)  # (N, C), many are 0
LABELS = torch.arange(40) % 4
PLACES = torch.randint(9, (40, 3, 2), generator=GENERATOR)


def largest(rows: Tensor) -> Top:
    """What a search hands over for some images."""
    images = rows.expand(3, -1)
    y, x = PLACES[rows].permute(2, 1, 0)
    return Top(VALUES[rows].t(), images, y, x)


def gathered(sample: int | None = None, parts: int = 1, classes: int = 4) -> ActivationStatistics:
    statistics = ActivationStatistics({"layer": 3}, LABELS, classes, sample)
    for rows in torch.arange(40).chunk(parts):
        statistics.update("layer", largest(rows))
    return statistics


def test_sums_over_all_images() -> None:
    statistics, exact = gathered(sample=5, parts=3), VALUES.double()
    torch.testing.assert_close(statistics.mean("layer"), exact.mean(0))
    torch.testing.assert_close(statistics.deviation("layer"), exact.std(0, correction=0))
    torch.testing.assert_close(statistics.active("layer"), (exact > 0).double().mean(0).float())
    means = torch.stack([exact[label == LABELS].mean(0) for label in range(4)])
    torch.testing.assert_close(statistics.class_means("layer"), means)
    assert statistics.seen("layer") == 40


TIED = torch.tensor(  # six images of five channels, clamped at 6 as by ReLU6
    [
        [6.0, 1.0, 0.0, -2.0, 5.0],
        [2.0, 3.0, 0.0, -1.0, 6.0],
        [6.0, 3.0, 0.0, -1.0, 4.0],
        [6.0, 0.0, 0.0, -1.0, 6.0],
        [1.0, 2.0, 0.0, -3.0, 6.0],
        [6.0, 3.0, 0.0, -5.0, 3.0],
    ]
)


def test_ties_at_the_largest_activation() -> None:
    """In a search of any order, and merged in any order."""
    places, parts = torch.zeros(5, 2, dtype=torch.long), []

    def empty() -> ActivationStatistics:
        return ActivationStatistics({"layer": 5}, torch.zeros(6), classes=1)

    assert empty().ties("layer").tolist() == [0] * 5
    batches = [Top(TIED[r].t(), r.expand(5, -1), places, places) for r in torch.arange(6).chunk(3)]
    for batch in batches:
        parts.append(empty())
        parts[-1].update("layer", batch)
    for order in itertools.permutations(range(3)):
        searched, merged = empty(), empty()
        for number in order:
            searched.update("layer", batches[number])
            merged.merge(parts[number].state_dict())
        for each in (searched, merged):
            assert each.ties("layer").tolist() == [4, 3, 6, 3, 3]


def test_a_class_without_images_has_no_mean() -> None:
    assert gathered(classes=5).class_means("layer")[4].isnan().all()


def test_a_sample_keeps_the_activations_of_its_images() -> None:
    small, large = gathered(sample=7), gathered(sample=20)
    assert len(small.images) == 7
    assert set(small.images.tolist()) < set(large.images.tolist())
    for statistics in (small, large, gathered()):
        assert torch.equal(statistics.values("layer"), VALUES[statistics.images])
        assert torch.equal(statistics.places("layer").long(), PLACES[statistics.images])


def test_parts_of_a_data_set_are_merged() -> None:
    whole, parts = gathered(), []
    for rows in torch.arange(40)[torch.randperm(40, generator=GENERATOR)].chunk(3):
        parts.append(ActivationStatistics({"layer": 3}, LABELS, 4))
        parts[-1].update("layer", largest(rows))
    for other in parts[1:]:
        parts[0].merge(other.state_dict())
    assert torch.equal(parts[0].values("layer"), whole.values("layer"))
    torch.testing.assert_close(parts[0].class_means("layer"), whole.class_means("layer"))
    torch.testing.assert_close(parts[0].deviation("layer"), whole.deviation("layer"))


def test_a_state_has_only_the_images_and_classes_seen() -> None:
    part = gathered(sample=20, classes=1000).empty()
    part.update("layer", largest(torch.arange(8, 16)))
    state = part.state_dict()
    layer, seen = state["layers"]["layer"], LABELS[8:16].unique()
    assert torch.equal(layer["classes"], seen)
    assert layer["sum"].shape == (len(seen), 3)
    assert part.images[state["rows"]].tolist() == [i for i in part.images if 8 <= i < 16]
    assert len(state["layers"]["layer"]["values"]) == len(state["rows"])
    means = part.class_means("layer")
    part.merge(gathered(sample=20).empty().state_dict())  # of no images
    assert torch.equal(part.state_dict()["rows"], state["rows"])
    torch.testing.assert_close(part.class_means("layer"), means, equal_nan=True, rtol=0, atol=0)


def test_a_state_continues() -> None:
    first, second = gathered(), ActivationStatistics({"layer": 3}, LABELS, 4)
    second.merge(first.state_dict())
    assert torch.equal(second.class_means("layer"), first.class_means("layer"))
    assert torch.equal(second.values("layer"), first.values("layer"))
    other = ActivationStatistics({"layer": 3}, LABELS, 4, sample=5)
    with pytest.raises(ValueError, match="rows beyond 5"):
        other.merge(first.state_dict())
    with pytest.raises(ValueError, match="sum are"):
        ActivationStatistics({"layer": 2}, LABELS, 4).merge(first.state_dict())
    with pytest.raises(ValueError, match="the rows are"):
        second.merge({**first.state_dict(), "rows": torch.zeros(1)})
    with pytest.raises(ValueError, match="classes beyond 2"):
        ActivationStatistics({"layer": 3}, LABELS % 2, 2).merge(first.state_dict())
    with pytest.raises(ValueError, match="rows are repeated"):
        second.merge({**first.state_dict(), "rows": torch.zeros(40, dtype=torch.long)})


def test_histograms_count_every_image_once() -> None:
    ranges, counts = gathered().histogram("layer", bins=5)
    assert counts.sum(1).tolist() == [40, 40, 40]
    for channel in range(3):
        low, high = ranges[channel]
        expected = torch.histc(VALUES[:, channel], bins=5, min=float(low), max=float(high))
        assert counts[channel].tolist() == expected.long().tolist()


def test_the_histogram_of_a_constant_channel() -> None:
    statistics = ActivationStatistics({"layer": 1}, torch.zeros(6), 1)
    images = torch.arange(6)[None]
    statistics.update("layer", Top(torch.full((1, 6), 2.0), images, images, images))
    ranges, counts = statistics.histogram("layer", bins=3)
    assert ranges.tolist() == [[2, 2]]
    assert counts.tolist() == [[6, 0, 0]]


def test_quantiles_are_the_images_at_their_rank() -> None:
    statistics = gathered()
    found = statistics.quantiles("layer", [0, 0.5, 1])
    for channel in range(3):
        order = sorted(range(40), key=lambda image: (float(VALUES[image, channel]), image))
        expected = [order[0], order[round(0.5 * 39)], order[39]]
        assert found.images[channel].tolist() == expected
        assert found.values[channel].tolist() == VALUES[expected, channel].tolist()
        assert found.y[channel].tolist() == PLACES[expected, channel, 0].tolist()


def pairs_won(values: list[float], labels: list[int], label: int) -> float:
    """The share of pairs of an image of the class and another one, by counting."""
    own = [value for value, each in zip(values, labels, strict=True) if each == label]
    others = [value for value, each in zip(values, labels, strict=True) if each != label]
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(own, others)]
    return sum(won) / len(won)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.integers(0, 2)), min_size=2))
def test_the_area_is_the_share_of_pairs(images: list[tuple[float, int]]) -> None:
    values, labels = map(list, zip(*images, strict=True))
    area, z = class_auc(torch.tensor(values)[:, None], torch.tensor(labels), 3)
    for label in range(3):
        if not 0 < labels.count(label) < len(labels):
            assert area[label].isnan()
            assert z[label].isnan()
            continue
        expected = pairs_won(values, labels, label)
        assert area[label].item() == pytest.approx(expected)
        assert float(z[label]) * (expected - 0.5) >= 0
        assert (z[label] == 0) == (expected == 0.5 or len(set(values)) == 1)


def test_z_is_that_of_the_mann_whitney_test() -> None:
    """Hand-computed: 4 against 4 without ties, U = 16, mean 8, variance 4 * 4 * 9 / 12 = 12."""
    values = torch.arange(8.0)[:, None]
    _, z = class_auc(values, torch.tensor([0] * 4 + [1] * 4), 2)
    assert z[:, 0].tolist() == pytest.approx([-8 / 12**0.5, 8 / 12**0.5])


def test_one_image_does_not_beat_a_class_that_is_told_apart() -> None:
    values = torch.cat([torch.zeros(50), torch.ones(49), torch.tensor([2.0])])[:, None]
    labels = torch.tensor([0] * 50 + [1] * 49 + [2])
    area, z = class_auc(values, labels, 3)
    assert area[2] == 1.0
    assert z[:, 0].argmax() == 1


def test_beside_a_search() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    images = torch.randn(10, 3, 8, 8)
    statistics = ActivationStatistics({"1": 4}, torch.zeros(10), 1)
    batches = [images[:4], images[4:]]
    top_activations(net, batches, ["1"], each=statistics.update, progress=False)
    maps = net(images).detach()
    assert torch.equal(statistics.values("1"), maps.amax((2, 3)))
    places = statistics.places("1").long()
    taken = maps[torch.arange(10)[:, None], torch.arange(4), places[..., 0], places[..., 1]]
    assert torch.equal(taken, maps.amax((2, 3)))


def test_no_images() -> None:
    with pytest.raises(InputError, match="at least one image"):
        ActivationStatistics({"1": 4}, torch.zeros(0), 1)
