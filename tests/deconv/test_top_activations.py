"""The strongest activations: as a sort of all maps gives them, however the images come."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from zfnet.deconv import Deconvnet, ImageBatch, TopActivations, Unit, top_activations
from zfnet.deconv.ids import Ids
from zfnet.errors import InputError
from zfnet.models import convnet

LAYERS = ["0", "1", "2"]


def small_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
    )


def images(count: int, side: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def every_map(net: nn.Module, layer: str, inputs: Tensor) -> Tensor:
    """(N, C, H, W), each image alone."""
    upto = list(dict(net.named_children())).index(layer) + 1
    with torch.no_grad():
        return torch.cat([net[:upto](one[None].clone()) for one in inputs])


def slowly(maps: Tensor, k: int) -> list[list[tuple[float, int, int, int]]]:
    """Per map (value, image, y, x): one entry an image, best first, equal ones by the image's
    number."""
    result = []
    for column in maps.transpose(0, 1).tolist():
        entries = []
        for number, rows in enumerate(column):
            places = [(-value, y, x) for y, row in enumerate(rows) for x, value in enumerate(row)]
            value, y, x = min(places)
            entries.append((value, number, y, x))
        result.append([(-value, number, y, x) for value, number, y, x in sorted(entries)[:k]])
    return result


def listed(top: TopActivations, layer: str) -> list[list[tuple[float, int, int, int]]]:
    columns = [
        part.tolist() for part in (top[layer].values, top[layer].images, top[layer].y, top[layer].x)
    ]
    return [
        [e for e in zip(*rows, strict=True) if e[1] >= 0] for rows in zip(*columns, strict=True)
    ]


@given(
    count=st.integers(1, 14),
    size=st.integers(1, 6),
    k=st.integers(1, 9),
    seed=st.integers(0, 20),
    coarse=st.booleans(),
)
def test_against_a_sort_of_everything(
    count: int, size: int, k: int, seed: int, coarse: bool
) -> None:
    """Coarse images and weights make many equal activations."""
    net, inputs = small_net(seed).double(), images(count, seed=seed).double()
    if coarse:
        inputs = inputs.sign()
        for parameter in net.parameters():
            parameter.data = parameter.data.sign()
    top = top_activations(net, inputs.split(size), LAYERS, k, progress=False)
    assert top.seen == count
    for layer in LAYERS:
        found, expected = listed(top, layer), slowly(every_map(net, layer, inputs), k)
        assert [[e[1:] for e in row] for row in found] == [[e[1:] for e in row] for row in expected]
        values = [torch.tensor([[e[0] for e in row] for row in rows]) for rows in (found, expected)]
        torch.testing.assert_close(*values)


def test_recomputing_gives_the_values_back() -> None:
    net = convnet("zfnet", 4, 64, init="he").double()
    inputs = images(12, 64).double()
    layers = ["conv1", "conv3", "conv5", "conv5.pool", "fc7", "fc8"]
    top = top_activations(net, inputs.split(5), layers, k=3, progress=False)
    deconv = Deconvnet(net)
    for layer in layers:
        for map in (0, 3):
            columns = [
                part[map].tolist() for part in (top[layer].images, top[layer].y, top[layer].x)
            ]
            units = [Unit(image, map, y, x) for image, y, x in zip(*columns, strict=True)]
            values = deconv.patches(inputs, layer, units).values
            torch.testing.assert_close(values, top[layer].values[map].clamp(min=0))


@given(order=st.permutations(range(11)), world=st.integers(1, 4), cut=st.integers(0, 10))
def test_order_processes_and_interruptions_do_not_matter(
    order: list[int], world: int, cut: int
) -> None:
    net, inputs = small_net().double(), images(11).double().sign()  # signs: many ties
    whole = top_activations(net, [inputs], LAYERS, k=4, progress=False)
    shares = []
    for rank in range(world):
        mine = torch.tensor(order[rank::world], dtype=torch.long)
        batches = [ImageBatch(inputs[ids], ids) for ids in mine.split(3) if len(ids)]
        first = TopActivations(LAYERS, 4)
        if batches[:cut]:
            top_activations(net, batches[:cut], LAYERS, 4, first, progress=False)
        resumed = TopActivations(LAYERS, 4)
        resumed.load_state_dict(first.state_dict())
        if batches[cut:]:
            top_activations(net, batches[cut:], LAYERS, 4, resumed, progress=False)
        shares.append(resumed)
    merged = shares[0].merge(*shares[1:])
    assert merged.seen == 11
    for layer in LAYERS:
        assert listed(merged, layer) == listed(whole, layer)


def test_an_id_that_comes_back_is_an_error() -> None:
    """In one batch, in another, and after a search was resumed; an image that two processes had
    counts once."""
    net, inputs = small_net().double(), images(6).double()
    again = [ImageBatch(inputs, torch.arange(6)), ImageBatch(inputs[:2], torch.tensor([9, 4]))]
    with pytest.raises(InputError, match="id 4 comes a second time"):
        top_activations(net, again, LAYERS, k=4, progress=False)
    with pytest.raises(InputError, match="id 3 comes a second time"):
        top_activations(net, [ImageBatch(inputs[:2], [3, 3])], LAYERS, progress=False)
    once = top_activations(net, [inputs], LAYERS, k=4, progress=False)
    resumed = TopActivations(LAYERS, 4)
    resumed.load_state_dict(once.state_dict())
    with pytest.raises(InputError, match="id 5 comes a second time"):
        top_activations(net, [ImageBatch(inputs[:1], [5])], LAYERS, 4, resumed, progress=False)
    assert resumed.seen == 6
    merged = once.merge(once)
    assert listed(merged, "1") == listed(once, "1")
    with pytest.raises(InputError, match="id 0 comes a second time"):
        top_activations(net, [ImageBatch(inputs[:1], [0])], LAYERS, 4, merged, progress=False)


def test_a_search_that_was_saved_without_ids_goes_on() -> None:
    net, inputs = small_net().double(), images(6).double()
    state = top_activations(net, [inputs[:4]], LAYERS, k=4, progress=False).state_dict()
    del state["ids"]
    resumed = TopActivations(LAYERS, 4)
    resumed.load_state_dict(state)
    top_activations(net, [inputs[4:]], LAYERS, 4, resumed, progress=False)
    assert listed(resumed, "2") == listed(
        top_activations(net, [inputs], LAYERS, k=4, progress=False), "2"
    )


@given(st.lists(st.lists(st.integers(-4, 12), max_size=5), max_size=6))
def test_ids_are_a_set(batches: list[list[int]]) -> None:
    """As ranges that touch nowhere: ids in order take one."""
    ids, known = Ids(), set()
    for batch in batches:
        again = sorted({each for each in batch if each in known or batch.count(each) > 1})
        numbers = torch.tensor(batch, dtype=torch.long)
        assert ids.repeated(numbers).tolist() == again
        ids = ids.union(Ids.of(numbers))
        known |= set(batch)
        ranges = ids.ranges.tolist()
        assert [each for start, stop in ranges for each in range(start, stop)] == sorted(known)
        assert all(a[1] < b[0] for a, b in pairwise(ranges))


def test_batches_as_loaders_give_them() -> None:
    """Alone in a list; with labels, which are no ids; with ids that are named as such."""
    net, inputs = small_net().double(), images(6).double()
    expected = listed(top_activations(net, [inputs], LAYERS, k=4, progress=False), "1")
    for batches in (
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs), batch_size=4),
        torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(inputs, torch.arange(6) % 2), batch_size=1
        ),
        [(inputs[:4], [0, 0, 1, 1]), [inputs[4:], torch.rand(2), "anything"]],
        [{"images": inputs[:5], "labels": torch.zeros(5)}, {"images": inputs[5:]}],
        [
            ImageBatch(inputs[:4], [0, 1, 2, 3]),
            ImageBatch(inputs[4:], torch.tensor([4, 5], dtype=torch.int32)),
        ],
        [{"images": inputs[3:], "ids": [3, 4, 5]}, {"images": inputs[:3], "ids": torch.arange(3)}],
    ):
        assert listed(top_activations(net, batches, LAYERS, k=4, progress=False), "1") == expected
    for ids in (torch.rand(6), torch.arange(5), torch.ones(6, dtype=torch.bool)):
        with pytest.raises(InputError, match="one integer for each of 6 images"):
            top_activations(net, [ImageBatch(inputs, ids)], LAYERS, progress=False)
    for batch in ({"image": inputs, "label": 1}, (), [1, 2], "images"):
        with pytest.raises(InputError, match=r"a batch is a .*ImageBatch\(images, ids\)"):
            top_activations(net, [batch], LAYERS, progress=False)


def test_fewer_images_than_places() -> None:
    top = top_activations(small_net(), [images(2)], ["1"], k=5, progress=False)["1"]
    assert top.images[:, 2:].eq(-1).all()
    assert top.values[:, 2:].eq(-torch.inf).all()
    assert top.images[:, :2].ge(0).all()


def test_nothing_behind_the_last_layer_runs_and_the_model_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = small_net().train()
    net[2].eval()
    calls = []
    forward = nn.Linear.forward
    monkeypatch.setattr(
        nn.Linear, "forward", lambda self, x: calls.append(len(x)) or forward(self, x)
    )
    state, weights = torch.get_rng_state(), [p.clone() for p in net.parameters()]
    top_activations(net, images(8).split(4), ["1", "0"], progress=False)
    assert calls == [1]  # once, with one image, to see that no layer runs twice
    assert [module.training for module in net] == [True, True, False, True, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not torch.nn.modules.module._global_forward_hooks


def test_maps_are_not_kept() -> None:
    """Between batches the search holds k numbers a map, nothing of the batch's size."""
    top = TopActivations(["1"], k=9)
    top.update("1", torch.randn(20, 3, 50, 50), torch.arange(20))
    parts = top.state_dict()["tops"]["1"].values()
    assert all(part.untyped_storage().nbytes() <= 3 * 9 * 8 for part in parts)


def test_a_state_survives_a_file(tmp_path: object) -> None:
    top = top_activations(small_net(), [images(5)], LAYERS, k=3, progress=False)
    torch.save(top.state_dict(), f"{tmp_path}/search.pt")
    again = TopActivations(LAYERS, 3)
    again.load_state_dict(torch.load(f"{tmp_path}/search.pt", weights_only=True))
    assert (listed(again, "2"), again.seen) == (listed(top, "2"), 5)


class Reused(nn.Module):
    """One convolution runs twice, one never, one layer gives a pair, one tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.pair, self.turned = Pair(), Turned()

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(x))
        return self.turned(self.pair(x)[0])


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("twice", "'twice' runs 2 times"),
        ("never", "'never' never runs"),
        ("pair", "'pair' gives a tuple"),
        ("turned", r"'turned' gives \(1, 8, 3, 8\), and which axes .* is unknown"),
        ("conv9", "'conv9' is not in Reused: it has twice, never"),
    ],
)
def test_layers_that_have_no_maps_of_their_own(layer: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        top_activations(Reused(), [images(1)], [layer], progress=False)


def test_wrong_settings_and_numbers_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match="k=0"):
        top_activations(small_net(), [images(1)], ["1"], k=0, progress=False)
    with pytest.raises(InputError, match="at least one"):
        TopActivations([])
    spoilt = images(4)
    spoilt[2, 0, 3, 3] = float("nan")
    with pytest.raises(InputError, match="'0' is not a number for image 12"):
        top_activations(
            small_net(), [ImageBatch(spoilt, torch.arange(10, 14))], ["0"], progress=False
        )
    with pytest.raises(InputError, match=r"saved is of k=3 and 0, 1, 2, this one of k=9 and 1"):
        TopActivations(["1"]).load_state_dict(
            top_activations(small_net(), [images(1)], LAYERS, 3, progress=False).state_dict()
        )
    with pytest.raises(InputError, match="'2' has not been searched: 1"):
        top_activations(small_net(), [images(1)], ["1"], progress=False)["2"]


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[TopActivations]], None]:
    """torch.distributed as process 0 sees it, whose partners have searched what is given."""

    def partners(searches: list[TopActivations]) -> None:
        def gather(states: list[object], mine: object) -> None:
            states[:] = [mine, *(search.state_dict() for search in searches)]

        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1 + len(searches))
        monkeypatch.setattr(torch.distributed, "all_gather_object", gather)

    return partners


def test_gathered_is_the_search_of_all_processes(
    gathering: Callable[[list[TopActivations]], None],
) -> None:
    net, inputs = small_net().double(), images(9).double()
    shares = [
        top_activations(
            net,
            [ImageBatch(inputs[rank::3], torch.arange(9)[rank::3])],
            LAYERS,
            k=4,
            progress=False,
        )
        for rank in range(3)
    ]
    whole = top_activations(net, [inputs], LAYERS, k=4, progress=False)
    assert shares[0].gather() is shares[0]
    gathering(shares[1:])
    assert listed(shares[0].gather(), "2") == listed(whole, "2")
    assert shares[0].gather().seen == 9
