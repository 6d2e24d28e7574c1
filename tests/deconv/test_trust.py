"""What figures say about projections, and that docs/trust.md says the same."""

import re

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.helpers.commands import ROOT
from zfnet.deconv import Deconvnet, Unit, doctor, make_deconvnet
from zfnet.deconv.graph import Field, Path
from zfnet.deconv.trust import MEASURED, caution


class Gated(nn.Module):
    """A convolution that a gate of all of the image scales."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * x.mean((2, 3), keepdim=True).sigmoid()


def strided(last: nn.Module) -> nn.Sequential:
    """Two convolutions with a stride and `last`: switches come from `last` only."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.ReLU()]
    return nn.Sequential(*convolutions, last)


def test_a_network_without_switches_is_told_to_use_guided() -> None:
    net = strided(nn.Identity())
    (diagnosis,) = doctor(net, ["3"], torch.randn(2, 3, 32, 32))
    said = Deconvnet(net).caution("3", 32)
    assert diagnosis.caution == said
    assert said in str(diagnosis)
    assert Deconvnet(net).describe("3", 32) == said
    assert "use relu=guided" in said
    assert Deconvnet(net, relu="guided").caution("3", 32) == ""
    assert "relu=guided" in Deconvnet(net, relu="guided").describe("3", 32)
    assert Deconvnet(strided(nn.MaxPool2d(2))).describe("4", 32) == ""


def test_units_that_see_all_of_the_image() -> None:
    """The numbers are those of the family, which the extended rules on the path tell."""
    net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    assert Deconvnet(net).caution("3", 11) == ""  # a unit sees 10 pixels
    assert "(zfnet in docs/trust.md)" in Deconvnet(net).caution("3", 10)
    (diagnosis,) = doctor(net, ["3"], torch.randn(2, 3, 10, 10))
    assert diagnosis.caution == Deconvnet(net).caution("3", 10)
    assert "the same for every unit" in Deconvnet(net, relu="guided").caution("3", 10)
    assert make_deconvnet(net, "gradient").caution("3", 10) == ""
    vit = Deconvnet(timm.create_model("test_vit").eval())
    assert "(vit in docs/trust.md)" in vit.caution("blocks.1", 160)
    assert vit.caution("blocks.1", 160) in vit.describe("blocks.1", 160)


@pytest.mark.parametrize("net", [strided(Gated()), strided(nn.GroupNorm(2, 4))])
def test_the_gradient_is_that_of_autograd(net: nn.Module) -> None:
    """Also through gates and statistics, which are constant by the deconvnet's rules."""
    pixels = torch.randn(1, 3, 32, 32, requires_grad=True)
    value = net(pixels)[0].amax((1, 2))[1]
    place = (net(pixels)[0, 1] == value).nonzero()[0].tolist()
    gradient = torch.autograd.grad(value, pixels)[0]
    deconv = make_deconvnet(net, "gradient", seed="forced")
    found = deconv.project(pixels.detach(), "4", [Unit(0, 1, *place)])
    torch.testing.assert_close(found, gradient)
    assert deconv.extended_rules("4") == {}


def test_the_page_and_the_labels_agree() -> None:
    """A layer of docs/trust.md that fails is labelled, with the numbers of the page.

    Networks with ImageNet's weights, which have no error there, were not trained on these images.
    """
    page = (ROOT / "docs" / "trust.md").read_text()
    parts = re.split(r"^### ", page, flags=re.MULTILINE)
    networks, energy, verdicts, path = (
        next(_rows(part) for part in parts if part.startswith(title))
        for title in ("Networks", "Energy on", "Energy of", "On the path")
    )
    errors = {each["network"]: each["error"] for each in networks}
    assert len(energy) == len(path) >= 10
    for measured, found in zip(verdicts, path, strict=True):
        rules = dict.fromkeys(re.findall(r"(\w[\w ]*) x ", found["extended rules"]), 1)
        field = Field(whole=found["sees all of the image"] == "yes")
        on_path = Path((field, field), None, rules, found["switches"] == "yes", local=False)
        if errors[measured["network"]]:
            assert caution(on_path, (64, 64)) or not measured["fails"], measured
    last = {each["network"]: each for each in energy}
    for family in MEASURED.values():
        columns = ("deconvnet", "gradient", "random weights")
        shown = [last[family.network][name].partition(" /")[0] for name in columns]
        assert shown == [str(each) for each in family[1:]]


def _rows(text: str) -> list[dict[str, str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
