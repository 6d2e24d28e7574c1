"""Logits and probabilities are told apart once; what has no classes or is infinite is refused."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.errors import InputError
from zfnet.models.outputs import class_outputs


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def body(classes: int = 5, scale: float = 5) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )
    nn.init.normal_(net[4].weight, std=scale)
    return net.eval()


class Ends(nn.Module):
    """A net that ends in a function."""

    def __init__(self, function: object, net: nn.Module) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.net(x))  # type: ignore[operator]


ENDS = {
    "logits": lambda x: x,
    "log-softmax": lambda x: F.log_softmax(x, 1),
    "softmax": lambda x: x.softmax(1),
    "softmax, as a list of one image's": lambda x: torch.stack([each.softmax(0) for each in x]),
    "mean of two softmaxes": lambda x: (x.softmax(1) + x.softmax(1)) / 2,
    "softmax in float64": lambda x: x.double().softmax(1),
    "softmax in bfloat16": lambda x: x.bfloat16().softmax(1),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_softmax_of_what_comes_out_is_the_probability(end: str) -> None:
    net, x = Ends(ENDS[end], body()), images()
    with torch.no_grad():
        expected, outputs = body()(x).softmax(1), class_outputs(net, x)
        assert outputs.probabilities == (end not in ("logits", "log-softmax"))
        found = outputs.logits(net(x), len(x)).softmax(1)
    rounding = 0.01 if "bfloat16" in end else 1e-6
    torch.testing.assert_close(
        found.float(), expected, rtol=rounding, atol=rounding, check_dtype=False
    )


def test_a_probability_of_0_stays_0() -> None:
    net, x = Ends(lambda x: (100 * x).softmax(1), body(scale=50)), images()
    found = class_outputs(net, x).logits(net(x)).softmax(1)
    assert (found == 0).any()
    torch.testing.assert_close(found, net(x))


def test_logits_that_look_like_probabilities_are_logits() -> None:
    """The last thing is a linear layer, whose rows sum to 1 on these images only."""
    net = body(2, 0)
    net[4].bias.data = torch.tensor([0.25, 0.75])
    assert not class_outputs(net, images()).probabilities
    torch.testing.assert_close(class_outputs(net, images()).logits(net(images())), net(images()))


def test_one_kind_is_not_taken_for_the_other_later() -> None:
    x = images()
    outputs = class_outputs(Ends(lambda x: x.softmax(1), body()), x)
    with pytest.raises(
        InputError, match="Ends gives probabilities for some images and not for others"
    ):
        outputs.logits(body()(x))


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (body(1), "Sequential gives one number for an image: there are no classes"),
        (Ends(torch.sigmoid, body(1)), "Ends gives one number"),
        (Ends(torch.sigmoid, body()), "Ends ends in a sigmoid, a yes or no for each class"),
        (Ends(lambda x: x.sigmoid().flatten(1), body()), "ends in a sigmoid"),
        (
            Ends(lambda x: F.softmax(x, 0), body()),
            "ends in a softmax, but its rows do not sum to 1: .* dim=1",
        ),
        (Ends(lambda x: x.argmax(1, keepdim=True), body()), "gives whole numbers"),
        (Ends(lambda x: x.argmax(1), body()), r"gives no \(B, classes\), but \(1,\)"),
        (Ends(lambda x: x[:, :, None], body()), r"gives no \(B, classes\), but \(1, 5, 1\)"),
        (
            Ends(lambda x: {"a": x, "b": x}, body()),
            r"more than one \(B, classes\): {'a': \(1, 5\), 'b': \(1, 5\)}",
        ),
        (Ends(lambda x: x * torch.nan, body()), "Ends is not finite from layer '' on"),
        (Ends(lambda x: x / 0, body()), "is not finite from layer '' on"),
    ],
    ids=str,
)
def test_what_has_no_probabilities(net: nn.Module, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        class_outputs(net.eval(), images())
    assert "\n" not in str(error.value)


def test_values_that_are_not_finite_are_counted() -> None:
    net = body()
    outputs, x = class_outputs(net, images()), images()
    x[2] = torch.nan
    with pytest.raises(InputError, match="not finite for 1 of 4 images"):
        outputs.logits(net(x))
    with pytest.raises(InputError, match=r"no \(B, classes\), but \(4, 5\)"):
        outputs.logits(net(images()), 3)
