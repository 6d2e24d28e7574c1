"""Where methods point, on a small net and on maps made by hand."""

import pytest
import torch
from torch import nn

from zfnet.analysis import localization
from zfnet.analysis.localization import (
    METHODS,
    PROJECTIONS,
    dilate,
    pointing,
    strongest_units,
)
from zfnet.analysis.occlusion.sweep import occlusion_sweep
from zfnet.analysis.sanity import CONTRAST
from zfnet.deconv import Deconvnet, Unit
from zfnet.errors import InputError
from zfnet.models import ConvNet

LAYER, SIDE = "conv3", 48


def test_the_strongest_unit(net: ConvNet, images: torch.Tensor) -> None:
    units = strongest_units(net, images, LAYER)
    values = net[:3](images)
    for i, unit in enumerate(units):
        assert unit.image == i
        assert values[i, unit.channel, unit.y, unit.x] == values[i].max()
    logits = net(images)
    assert [unit.channel for unit in strongest_units(net, images, "fc8")] == logits.argmax(
        1
    ).tolist()


def test_methods_are_maps(net: ConvNet, images: torch.Tensor) -> None:
    units = [Unit(i, i) for i in range(3)]
    maps = {name: method(net, images, "fc8", units) for name, method in METHODS.items()}
    assert all(each.shape == (3, SIDE, SIDE) and (each >= 0).all() for each in maps.values())
    contrast = Deconvnet(net, seed="forced", contrast=4).project(images, "fc8", units)
    torch.testing.assert_close(maps["contrastive"], contrast.norm(dim=1))
    pixels = images.clone().requires_grad_()
    gradient = torch.autograd.grad(net(pixels)[range(3), range(3)].sum(), pixels)[0]
    torch.testing.assert_close(PROJECTIONS["gradient"](net, images, "fc8", units), gradient)
    torch.testing.assert_close(maps["gradient x input"], (gradient * images).norm(dim=1))


def test_methods_for_many_batches(monkeypatch: pytest.MonkeyPatch, images: torch.Tensor) -> None:
    """They use the seed, and ask once whether the network is a classifier."""
    torch.manual_seed(0)
    model, asked = nn.Sequential(nn.Conv2d(3, 40, 5, stride=4), nn.ReLU()), []
    units = [Unit(0, 3, 2, 2)]
    monkeypatch.setattr(localization, "is_classifier", lambda *_: bool(asked.append(1)))  # type: ignore[func-returns-value]
    for seed in (0, 3):
        methods = localization.methods_for(model, images, seed)
        assert methods.keys() == METHODS.keys()
        found = methods["contrastive"](model, images, "1", units)
        deconv = Deconvnet(model, seed="forced", contrast=CONTRAST, contrast_seed=seed)
        torch.testing.assert_close(found, deconv.project(images, "1", units).norm(dim=1))
    assert not torch.equal(found, METHODS["contrastive"](model, images, "1", units))
    for _ in range(2):
        found = methods["occlusion"](model, images, "1", units)
    assert torch.equal(found, METHODS["occlusion"](model, images, "1", units))
    assert len(asked) == 3


def test_pointing_by_hand() -> None:
    """The peak at (10, 10), the object from (10, 13) on: within 3 pixels, not within 2."""
    maps, masks = torch.zeros(3, 32, 32), torch.zeros(3, 32, 32, dtype=torch.bool)
    maps[:2, 10, 10] = 1
    maps[1, 25:28, 25:28] = 0.8  # the smoothed one lies elsewhere
    masks[:, 10, 13:] = True
    assert pointing(maps, masks, sigma=1, tolerance=3).tolist() == [True, False, False]
    assert not pointing(maps, masks, sigma=1, tolerance=2).any()
    assert dilate(masks[:1], 0).equal(masks[:1])
    assert dilate(masks[:1], 1).sum() == masks[0].sum() * 3 + 1


def test_occlusion_is_what_covering_takes(net: ConvNet, images: torch.Tensor) -> None:
    """Of a logit its drop, of a convolution's unit that of its whole map; never below 0."""
    units = [Unit(2, 4), Unit(0, 1)]
    sweep = occlusion_sweep(net, images, size=11, stride=5)
    for unit, found in zip(units, METHODS["occlusion"](net, images, "fc8", units), strict=True):
        drop = (
            sweep.clean_logits[unit.image, unit.channel]
            - sweep.logits[unit.image, ..., unit.channel]
        )
        expected = sweep.over_pixels(drop[None].clamp(min=0))[0]
        torch.testing.assert_close(found, expected)
        assert expected.max() > 0
    found = METHODS["occlusion"](net, images, LAYER, [Unit(1, 5, 0, 1)])[0]
    covered = images[1:2].clone()
    covered[..., 20:31, 20:31] = 0
    with torch.no_grad():
        whole, less = (net[:3](each)[0, 5].sum().item() for each in (images[1:2], covered))
    assert found[25, 25].item() == pytest.approx(max(0, whole - less), rel=1e-4, abs=1e-4)


def test_an_image_with_nan(net: ConvNet, images: torch.Tensor) -> None:
    broken = images.clone()
    broken[1, 0, 5, 5] = torch.nan
    with pytest.raises(InputError, match="image 1 of 3"):
        METHODS["guided"](net, broken, LAYER, [Unit(0, 1, 1, 1)])
    with pytest.raises(InputError, match="not finite"):
        METHODS["occlusion"](net, broken, LAYER, [Unit(0, 1, 1, 1)])
