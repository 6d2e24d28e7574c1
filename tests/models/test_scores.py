"""What is measured of outputs of any structure, against values read by hand."""

from collections import namedtuple
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zfnet.analysis import invariance, occlusion_sweep, sanity_checks
from zfnet.deconv import Deconvnet, ImageBatch, Unit, top_activations
from zfnet.errors import InputError
from zfnet.models.scores import Score, as_score, describe, find_tensor, with_score

Pair = namedtuple("Pair", "logits hidden")


@dataclass
class Record:
    loss: Tensor | None
    logits: Tensor
    hidden: Tensor


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LOGITS, MAPS, HIDDEN = noise(2, 5), noise(2, 5, 8, 6), noise(2, 9)


@pytest.mark.parametrize(
    "outputs",
    [
        LOGITS,
        (LOGITS,),
        (LOGITS, MAPS),
        [LOGITS, MAPS],
        {"out": LOGITS, "aux": HIDDEN},
        {"head": {"logits": LOGITS}, "hidden": HIDDEN},
        Pair(LOGITS, HIDDEN),
        Record(None, LOGITS, HIDDEN),
    ],
)
def test_the_logits_are_found(outputs: Any) -> None:
    assert find_tensor("Net", outputs, 2) is LOGITS


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ((LOGITS, HIDDEN), r"more than one \(B, classes\): \[\(2, 5\), \(2, 9\)\]"),
        ({"out": MAPS}, r"no \(B, classes\), but {'out': \(2, 5, 8, 6\)}: give score=3"),
        (
            [{"boxes": noise(1, 4), "labels": torch.ones(1, dtype=torch.long)}],
            r"but \[{'boxes': \(1, 4\), 'labels': \(1,\) int64}\]",
        ),
        ("a string", r"but str"),
    ],
)
def test_other_outputs_are_shown(outputs: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_tensor("Net", outputs, 2)


def test_long_outputs_are_shortened() -> None:
    assert describe([{"scores": noise(7)}] * 9).count("scores") == 6
    assert describe(torch.zeros(2, dtype=torch.long)) == "(2,) int64"


def test_a_pixel_of_class_maps() -> None:
    score, target = as_score("3@5,4", (8, 6))
    assert score is not None
    assert target == 3
    assert torch.equal(score({"out": MAPS}), MAPS[:, :, 5, 4])
    half, _ = as_score("3@5,4", (16, 12))  # maps of half the size: the cell that holds the pixel
    assert half is not None
    torch.testing.assert_close(half(MAPS), MAPS[:, :, 2, 2])


def test_a_mask_of_class_maps() -> None:
    mask = torch.zeros(8, 6, dtype=torch.bool)
    mask[2:4, 1:6] = True
    score, target = as_score(mask, (8, 6))
    assert score is not None
    assert target is None
    torch.testing.assert_close(score(MAPS), MAPS[:, :, 2:4, 1:6].mean((2, 3)))


def test_an_output_by_number() -> None:
    score, target = as_score(4, (8, 6))
    assert score is not None
    assert target is None
    assert torch.equal(score((LOGITS, MAPS)), LOGITS[:, 4])
    with pytest.raises(InputError, match="outputs 0 to 4"):
        as_score(5, (8, 6))[0](LOGITS)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("score", "said"),
    [
        ("3@8,0", "pixel 8,0 is outside of the image of 8 x 6 pixels"),
        ("3@1", "score='3@1': give score=3"),
        ("cat@1,2", "give score=3"),
        (torch.ones(8, 6), "a mask is bool"),
        (torch.zeros(8, 6, dtype=torch.bool), "not empty"),
    ],
)
def test_bad_scores(score: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        as_score(score, (8, 6))


class Segmenter(nn.Module):
    """Class maps in a dict, or one dict for each image like a detector."""

    def __init__(self, detector: bool = False, end: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.head, self.detector = nn.Conv2d(6, 4, 3, padding=1), detector
        self.end = end or nn.Identity()

    def forward(self, x: Tensor) -> Any:
        maps = self.end(self.head(self.body(x)))
        if self.detector:
            return [{"scores": each.flatten()[::16]} for each in maps]
        return {"out": maps}


def strongest(outputs: list[dict[str, Tensor]]) -> Tensor:
    """A detector's largest score for each image."""
    return torch.stack([each["scores"].max() for each in outputs])


def mean_of_maps(outputs: dict[str, Tensor]) -> Tensor:
    return outputs["out"].relu().mean((1, 2, 3))


def occluded(image: Tensor, size: int) -> Tensor:
    copies = []
    for top in range(0, 16, size):
        for left in range(0, 16, size):
            copies.append(image.clone())
            copies[-1][:, top : top + size, left : left + size] = 0
    return torch.stack(copies)


def test_occlusion_of_a_pixel() -> None:
    net, images = Segmenter().eval(), noise(2, 3, 16, 16)
    sweep = occlusion_sweep(net, images, size=8, stride=8, score="2@5,9", layer="body.1")
    for i, image in enumerate(images):
        maps = net(occluded(image, 8))["out"].detach()
        expected = maps[:, :, 2, 4].softmax(1)  # the maps have half the size
        torch.testing.assert_close(sweep.score[i].flatten(), expected[:, 2])
        assert torch.equal(sweep.best[i].flatten(), expected.argmax(1))
    assert torch.equal(sweep.score, sweep.probability)


def test_occlusion_of_a_detector() -> None:
    net, images = Segmenter(detector=True).eval(), noise(2, 3, 16, 16)
    sweep = occlusion_sweep(net, images, size=8, stride=8, score=strongest)
    for i, image in enumerate(images):
        expected = strongest(net(occluded(image, 8))).detach()
        torch.testing.assert_close(sweep.score[i].flatten(), expected)
    torch.testing.assert_close(sweep.clean_score, strongest(net(images)).detach())
    with pytest.raises(InputError, match="there are no classes"):
        _ = sweep.best


@pytest.mark.parametrize("exhaustive", [True, False])
def test_both_ways_of_occlusion_agree(exhaustive: bool) -> None:
    net, images = Segmenter().eval(), noise(1, 3, 16, 16)
    score = "1@0,15"
    sweep = occlusion_sweep(net, images, size=4, stride=4, score=score, exhaustive=exhaustive)
    expected = net(occluded(images[0], 4))["out"].detach()[:, :, 0, 7].softmax(1)[:, 1]
    torch.testing.assert_close(sweep.score.flatten(), expected)


def test_the_activity_of_any_network() -> None:
    net, images = Segmenter(detector=True).eval(), noise(2, 3, 16, 16)
    sweep = occlusion_sweep(net, images, size=8, stride=8, layer="body.1", activity_only=True)
    assert sweep.activity is not None
    for i, image in enumerate(images):
        expected = net.body[:2](occluded(image, 8)).sum((2, 3)).detach()
        torch.testing.assert_close(sweep.activity[i].flatten(0, 1), expected)
    with pytest.raises(InputError, match="only the activity was recorded"):
        _ = sweep.score


def test_invariance_of_scores() -> None:
    net, images = Segmenter().eval(), noise(2, 3, 16, 16)
    amounts: dict[str, Any] = {"shifts": [0, 4], "scales": [1], "angles": [0]}
    found = invariance(net, images, ["body.1"], None, **amounts, score="2@5,9")["translation"]
    maps = net(images)["out"].detach()
    torch.testing.assert_close(found.scores[0], maps[:, :, 2, 4].softmax(1)[:, 2])
    raw = invariance(
        net, images, ["body.1"], None, **amounts, score=lambda out: out["out"][:, 1, 3, 3]
    )["translation"]
    torch.testing.assert_close(raw.scores[0], maps[:, 1, 3, 3])
    with pytest.raises(InputError, match="need as many targets"):
        invariance(
            net, images, ["body.1"], None, **amounts, score=lambda out: out["out"][..., 0, 0]
        )


def test_a_score_is_a_layer() -> None:
    """The projection from a pixel of a class map is that of the unit there."""
    net, images = Segmenter().eval(), noise(2, 3, 16, 16)
    score, _ = as_score("2@5,9", (16, 16))
    assert score is not None
    scored = with_score(net, score)
    assert set(dict(net.named_modules())) < set(dict(scored.named_modules()))
    unit, of_score = Unit(1, 2, 2, 4), Unit(1, 2)
    expected = Deconvnet(net, seed="forced").project(images, "head", [unit])
    assert expected.any()
    for each in (scored, deepcopy(scored)):
        found = Deconvnet(each, seed="forced").project(images, "score", [of_score])
        torch.testing.assert_close(found, expected)
    top = top_activations(
        scored, [ImageBatch(images, torch.arange(2))], ["score", "body.1"], 1, progress=False
    )
    expected_values = net(images)["out"].detach()[:, :, 2, 4].amax(0)
    torch.testing.assert_close(top["score"].values[:, 0], expected_values)


def test_sanity_checks_of_a_score() -> None:
    net, images = Segmenter().eval(), noise(2, 3, 16, 16)
    scored = with_score(net, lambda out: out["out"].mean((2, 3)))
    found = sanity_checks(scored, images[:1], images[1:], "score", [Unit(0, 0)], [1])
    others = ["other map", "contrastive", "contrastive other map", "other image", "both"]
    assert list(found) == ["original", "head", "body.0", *others]


@pytest.mark.parametrize(
    ("net", "score", "said"),
    [
        (Segmenter(end=nn.Sigmoid()), "2@5,9", "ends in a sigmoid"),
        (Segmenter(), None, r"gives no \(B, classes\), but {'out': \(1, 4, 8, 8\)}"),
        (Segmenter(), lambda out: out["out"], r"returns \(1, 4, 8, 8\), not one number"),
        (Segmenter(), lambda out: out["out"].sum((2, 3))[:0], "0 numbers for 1 images"),
    ],
)
def test_refused(net: nn.Module, score: Score | str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        occlusion_sweep(net.eval(), noise(1, 3, 16, 16), size=8, stride=8, score=score)
