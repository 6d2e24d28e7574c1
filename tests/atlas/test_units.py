"""The parts of an atlas's tiles are the projections of `Deconvnet`, one for each cell."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.atlas.test_odd_atlases import noise, relu6, two_layers
from zfnet.analysis import ActivationStatistics
from zfnet.atlas.units import EXAMPLES, RANDOM_CHANNEL, Part, UnitTiles
from zfnet.deconv import Deconvnet, make_deconvnet, top_activations
from zfnet.deconv.contrast import Contrast
from zfnet.model_on_data import ModelOnData

K, IMAGES = 3, 7


class Residual(nn.Module):
    """Has a branch, so that autograd projects."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu, self.last = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        return self.last(x + self.second(x))


def one_channel() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU())


NETS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "chain": (two_layers, "4"),
    "saturated": (relu6, "4"),
    "branches": (Residual, "last"),
    "one channel": (one_channel, "1"),
}


def parts_of(net: nn.Module, layer: str, contrast: int) -> tuple[ModelOnData, list[Part]]:
    model = noise(net, IMAGES, ["a"])
    count = Deconvnet(net).units(layer, model.shape)[0]
    statistics = ActivationStatistics({layer: count}, torch.zeros(IMAGES), 1)
    tops = top_activations(net, model.batches(), [layer], K, progress=False, each=statistics.update)
    examples = statistics.quantiles(layer, EXAMPLES)
    tiles = UnitTiles(model, layer, tops[layer], examples, Contrast(contrast), None)
    return model, list(tiles.parts(range(count)))


@pytest.mark.parametrize("contrast", [0, 4])
@pytest.mark.parametrize("name", NETS)
def test_the_parts_are_those_of_the_deconvnet(name: str, contrast: int) -> None:
    torch.manual_seed(0)
    build, layer = NETS[name]
    net = build().eval()
    model, parts = parts_of(net, layer, contrast)
    deconvs = {
        "": Deconvnet(net),
        "contrastive": Deconvnet(net, contrast=contrast),
        RANDOM_CHANNEL: Deconvnet(net, seed="forced"),
        "guided": make_deconvnet(net, "guided"),
        "gradient": make_deconvnet(net, "gradient"),
    }
    cells: Counter[tuple[str, int, int]] = Counter()
    for part in parts:
        cells.update((part.row, *cell) for cell in part.cells.tolist())
        if part.control == "random_weights":
            continue
        units = part.units
        if part.control == RANDOM_CHANNEL:
            channels = Deconvnet(net).units(layer, model.shape)[0]
            others = [Contrast(1).others(u.channel, channels) or [u.channel] for u in units]
            units = [replace(u, channel=other[0]) for u, other in zip(units, others, strict=True)]
        patches, pixels = model.project(deconvs[part.control], layer, units)
        scale = patches.projections.abs().max().item()
        torch.testing.assert_close(
            part.projections, patches.projections, rtol=1e-4, atol=1e-5 * scale
        )
        assert part.windows == patches.windows
        if part.row == "controls":
            assert part.pixels is None
        else:
            assert part.pixels is not None
            torch.testing.assert_close(part.pixels, pixels)
    assert set(cells.values()) == {1}
    top = top_activations(net, model.batches(), [layer], 1, progress=False)[layer]
    alive = (top.values[:, 0] > 0).nonzero()[:, 0].tolist()
    assert sorted({channel for _, channel, _ in cells}) == alive
    count = len(alive)
    controls = 5 if contrast else 4
    rows = Counter(row for row, _, _ in cells)
    assert rows == {
        "projections": count * K,
        "example_projections": count * len(EXAMPLES),
        "controls": count * controls,
    }
