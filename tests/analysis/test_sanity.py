"""Sanity checks on a small net, and similarity by hand."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from zfnet.analysis import sanity
from zfnet.deconv import Deconvnet, Unit
from zfnet.errors import InputError
from zfnet.models import ConvNet

LAYER, SIDE = "conv3", 48


UNITS = [Unit(0, 1, 1, 1), Unit(1, 5, 0, 1), Unit(2, 2, 1, 0)]


def test_forced_is_seed_one_where_the_unit_is_active(net: ConvNet, images: torch.Tensor) -> None:
    active = [Unit(0, map, 1, 1) for map in range(8)]
    values = Deconvnet(net).patches(images, LAYER, active).values
    one = Deconvnet(net, seed="one").project(images, LAYER, active)
    forced = sanity.force_activation(net, images).project(images, LAYER, active)
    assert 0 < (values > 0).sum() < 8
    assert torch.equal(forced[values > 0], one[values > 0])
    assert forced[values <= 0].abs().sum((1, 2, 3)).min() > 0
    assert one[values <= 0].abs().sum() == 0


def test_the_cascade_goes_down_and_leaves_the_net_alone(net: ConvNet, images: torch.Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    shuffled, names = {}, []
    for name, copy in sanity.cascade(net, LAYER, images, seed=3):
        names.append(name)
        changed = {
            key.rsplit(".", 1)[0]
            for key, value in copy.state_dict().items()
            if not torch.equal(value, before[key])
        }
        assert changed == set(names)
        shuffled = {key: value.clone() for key, value in copy.state_dict().items()}
    assert names == ["conv3.conv", "conv2.conv", "conv1.conv"]
    for key, value in before.items():
        assert torch.equal(net.state_dict()[key], value)
        torch.testing.assert_close(
            shuffled[key].flatten().sort().values, value.flatten().sort().values
        )
    *_, (_, again) = sanity.cascade(net, LAYER, images, seed=3)
    *_, (_, other) = sanity.cascade(net, LAYER, images, seed=4)
    assert torch.equal(again.conv1.conv.weight, shuffled["conv1.conv.weight"])
    assert not torch.equal(other.conv1.conv.weight, shuffled["conv1.conv.weight"])


def test_layers_above_are_not_in_the_projection(net: ConvNet, images: torch.Tensor) -> None:
    original = sanity.force_activation(net, images).project(images, LAYER, UNITS)
    changed = deepcopy(net)
    for above in (changed.conv4.conv, changed.conv5.conv, changed.fc6.linear, changed.fc8.linear):
        nn.init.normal_(above.weight)
    assert torch.equal(
        sanity.force_activation(changed, images).project(images, LAYER, UNITS), original
    )
    nn.init.normal_(changed.conv3.conv.weight)
    assert not torch.equal(
        sanity.force_activation(changed, images).project(images, LAYER, UNITS), original
    )


def test_every_check_has_a_projection(net: ConvNet, images: torch.Tensor) -> None:
    projections = sanity.sanity_checks(net, images, images.flip(0), LAYER, UNITS, [3, 1, 4])
    assert list(projections) == [
        *("original", "conv3.conv", "conv2.conv", "conv1.conv", "other map"),
        *("contrastive", "contrastive other map", "other image", "both"),
    ]
    plain = sanity.force_activation(net, images)
    expected = plain.patches(images.flip(0), LAYER, [Unit(0, 3, 1, 1)]).projections[0]
    torch.testing.assert_close(projections["both"][0], expected)
    own = Deconvnet(net, seed="forced", contrast=7)  # all others
    for name, channel in (("contrastive", 1), ("contrastive other map", 3)):
        expected = own.patches(images, LAYER, [Unit(0, channel, 1, 1)]).projections[0]
        torch.testing.assert_close(projections[name][0], expected)
    for name, each in projections.items():
        cosine, rank = sanity.similarity(projections["original"], each)
        assert bool((cosine > 1 - 1e-6).all()) == (name == "original")
        assert (rank <= 1 + 1e-9).all()


def test_the_checks_by_another_rule(net: ConvNet, images: torch.Tensor) -> None:
    found = sanity.sanity_checks(
        net, images, images.flip(0), LAYER, UNITS, [3, 1, 4], relu="guided"
    )
    guided = Deconvnet(net, relu="guided", seed="forced")
    for name, shown in (("original", images), ("other image", images.flip(0))):
        expected = guided.patches(shown, LAYER, UNITS).projections
        torch.testing.assert_close(found[name], expected)


def test_similarity_by_hand() -> None:
    projection = torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    for factor, cosine in ((1.0, 1.0), (5.0, 1.0), (-2.0, -1.0)):
        found = sanity.similarity(projection, factor * projection)
        assert [part.item() for part in found] == pytest.approx([cosine, 1.0])
    assert all(part.isnan().all() for part in sanity.similarity(projection, 0 * projection))
    one, other = (
        torch.tensor(row).view(1, 1, 1, 4) for row in ([1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 9.0, 5.0])
    )
    # ranks 1 2 3 4 and 1.5 1.5 4 3: deviations -1.5 -.5 .5 1.5 and -1 -1 1.5 .5
    assert sanity.similarity(one, other)[1].item() == pytest.approx(3.5 / math.sqrt(5 * 4.5))
    with pytest.raises(InputError, match="differ in shape"):
        sanity.similarity(one, one[..., :2])


def test_a_net_that_is_no_convnet() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
    ).eval()
    assert sanity.layers_below(net, "4", torch.randn(2, 3, 12, 12)) == ["3", "2", "0"]
    assert sanity.layers_below(net, "0", torch.randn(2, 3, 12, 12)) == ["0"]


def test_errors(net: ConvNet, images: torch.Tensor) -> None:
    with pytest.raises(InputError, match="conv9"):
        sanity.layers_below(net, "conv9", images)
    broken = images.clone()
    broken[1, 0, 5, 5] = torch.nan
    with pytest.raises(InputError, match="image 1 of 3"):
        sanity.sanity_checks(net, broken, images, LAYER, UNITS, [3, 1, 4])
