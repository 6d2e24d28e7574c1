"""Figure 5's distances and probabilities, by hand and by a loop over single images."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from zfnet.analysis import invariance
from zfnet.analysis.invariance import KINDS, transform
from zfnet.errors import InputError
from zfnet.models import convnet


def small_net() -> nn.Sequential:
    """In-place ReLUs, as torchvision's: what is read must be read before they run."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * 36, 6),
        nn.ReLU(),
        nn.Linear(6, 5),
    )


def random_images(count: int, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(4))


def test_shifts_and_quarter_turns_move_pixels() -> None:
    x = random_images(2, 6, 8)
    moved = transform(x, "translation", [2, -1], fill=0.5)
    torch.testing.assert_close(moved[0, :, 2:], x[0, :, :-2])  # downwards
    assert (moved[0, :, :2] == 0.5).all()
    torch.testing.assert_close(moved[1, :, :-1], x[1, :, 1:])
    torch.testing.assert_close(transform(x, "rotation", [180, 0])[0], x[0].rot90(2, (1, 2)))
    square = x[:, :, :, :6]
    # Counterclockwise, ↺.
    torch.testing.assert_close(transform(square, "rotation", [90, 90]), square.rot90(1, (2, 3)))


def test_a_turn_keeps_shapes_where_the_image_is_wide() -> None:
    """A square spot left of the centre of a wide image stands below it after a quarter turn, as
    large as before."""
    x = torch.zeros(1, 1, 9, 15)
    x[0, 0, 3:6, 3:6] = 1  # three pixels left of the centre
    turned = transform(x, "rotation", [90])
    assert turned.sum().item() == pytest.approx(9, rel=1e-4)
    centre = (
        turned[0, 0].sum(1) @ torch.arange(9.0) / 9,
        turned[0, 0].sum(0) @ torch.arange(15.0) / 9,
    )
    assert [c.item() for c in centre] == pytest.approx([7, 7], abs=1e-3)


def test_twice_as_large_by_hand() -> None:
    """Of the row 0 1 2 3 about its middle 1.5, the places 0.75, 1.25, 1.75, 2.25 are seen."""
    x = torch.arange(4.0).expand(1, 1, 4, 4)
    torch.testing.assert_close(
        transform(x, "scale", [2.0])[0, 0, 0], torch.tensor([0.75, 1.25, 1.75, 2.25])
    )


@given(kind=st.sampled_from(KINDS), turns=st.integers(-2, 2), seed=st.integers(0, 20))
def test_the_identity_gives_the_very_same_bits(kind: str, turns: int, seed: int) -> None:
    x = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    amount = {"translation": 0.0, "scale": 1.0, "rotation": 360.0 * turns}[kind]
    assert torch.equal(transform(x, kind, [amount], fill=0.3), x)


def test_against_a_loop() -> None:
    """Each image by itself, each layer from the definition."""
    net, images, targets = small_net().train(), random_images(3), torch.tensor([4, 0, 2])
    amounts = {
        "translation": [-3.0, 0.0, 1.5],
        "scale": [1.0, 1.4],
        "rotation": [0.0, 33.0, 200.0, 360.0],
    }
    found = invariance(net, images, ["0", "4"], targets, *amounts.values(), fill=0.2)
    assert net.training
    net.eval()
    for kind, answer in found.items():
        assert answer.amounts == amounts[kind]
        assert answer.distances.shape == (2, len(amounts[kind]), 3)
        for n, image in enumerate(images):
            for step, amount in enumerate(amounts[kind]):
                moved = transform(image[None], kind, [amount], fill=0.2)
                for row, layers in enumerate((net[:1], net[:5])):
                    before, after = (
                        layers(x.clone()).flatten().detach() for x in (image[None], moved)
                    )
                    far = (
                        sum(
                            (a - b) ** 2
                            for a, b in zip(before.tolist(), after.tolist(), strict=True)
                        )
                        ** 0.5
                    )
                    assert answer.distances[row, step, n].item() == pytest.approx(
                        far, rel=1e-4, abs=1e-5
                    )
                    assert answer.normalized[row, step, n].item() == pytest.approx(
                        far / before.norm().item(), rel=1e-4, abs=1e-5
                    )
                p = net(moved).softmax(1)[0, targets[n]].item()
                assert answer.scores[step, n].item() == pytest.approx(p, rel=1e-4)


def test_the_identity_is_exactly_0_and_more_amounts_than_a_batch_holds() -> None:
    net = convnet(
        "zfnet",
        3,
        48,
        {
            **{f"conv{i}": {"channels": 8} for i in range(1, 6)},
            "fc6": {"units": 9},
            "fc7": {"units": 9},
        },
    )
    shifts = [float(s) for s in range(-45, 46)]
    found = invariance(
        net,
        random_images(2, 48, 48),
        ["conv1", "fc7"],
        torch.tensor([0, 2]),
        shifts,
        [1],
        [0, 90, 360],
    )
    assert found["translation"].distances[:, 45].eq(0).all()
    assert found["translation"].distances[0, torch.arange(91) != 45].gt(0).all()
    assert found["rotation"].distances[:, [0, 2]].eq(0).all()
    assert torch.equal(found["rotation"].scores[0], found["rotation"].scores[2])


def test_only_the_identity_still_has_a_probability() -> None:
    net, x = small_net().eval(), random_images(2)
    found = invariance(net, x, ["0"], torch.tensor([1, 1]), [0], [1], [])
    torch.testing.assert_close(found["scale"].scores[0], net(x).softmax(1)[:, 1].detach())
    assert found["scale"].normalized.eq(0).all()
    assert found["rotation"].distances.shape == (1, 0, 2)


def test_a_dead_layer_has_no_normalized_distance() -> None:
    net = small_net()
    nn.init.zeros_(net[3].weight), nn.init.zeros_(net[3].bias)
    found = invariance(net, random_images(1), ["4"], torch.tensor([1]), [2], [1.5], [90])
    assert found["scale"].distances.eq(0).all()
    assert found["scale"].normalized.isnan().all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": random_images(2) / 0 * 0}, "NaN"),
        ({"images": random_images(0)}, "at least one"),
        ({"targets": torch.tensor([1])}, "as many targets"),
        ({"targets": torch.tensor([1, 5])}, "target 5: the model has classes 0 to 4"),
        ({"targets": torch.tensor([0.0, 1.0])}, "int64"),
        ({"layers": []}, "no layers"),
        ({"layers": ["9"]}, "layer '9' is not in Sequential"),
        ({"scales": [1, 0]}, "above 0"),
        ({"shifts": [float("nan")]}, "finite"),
    ],
)
def test_errors(change: dict, says: str) -> None:
    words = {"images": random_images(2), "layers": ["0"], "targets": torch.tensor([0, 1])}
    words |= {"shifts": [1], "scales": [1.2], "angles": [9]} | change
    with pytest.raises(InputError, match=says):
        invariance(small_net(), **words)


class Pair(nn.Module):
    """Logits twice, as nets with heads beside the trunk give them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(x)
        return logits, logits


@pytest.mark.parametrize(("net", "layer"), [(small_net()[:2], "0"), (Pair(), "net")])
def test_a_model_without_classes(net: nn.Module, layer: str) -> None:
    name = type(net).__name__
    with pytest.raises(InputError, match=rf"{name} gives (no|more than one) \(B, classes\)"):
        invariance(net, random_images(1), [layer], torch.tensor([0]), [1], [1.2], [9])
