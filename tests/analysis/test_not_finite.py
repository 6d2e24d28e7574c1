"""Values that are not finite are an error that names the layer; a dead layer has no numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zfnet.analysis import correspondence, invariance, occlusion_sweep, sanity_checks
from zfnet.deconv import Unit, doctor, top_activations
from zfnet.errors import InputError

LAYER = "3"


def random_images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(4))


def net(bias: float | None = None, weight: float | None = None) -> nn.Sequential:
    """Two convolutions; the second's bias or weights may be all the same."""
    torch.manual_seed(1)
    layers = [
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 3),
    ]
    with torch.no_grad():
        if bias is not None:
            layers[2].bias.fill_(bias)  # type: ignore[union-attr, operator]
        if weight is not None:
            layers[2].weight.fill_(weight)  # type: ignore[union-attr, operator]
    return nn.Sequential(*layers).eval()


def changed(model: nn.Module) -> Any:
    places = torch.full((3, 2), 3.0)
    return correspondence(
        model, random_images(), {"nose": places}, places[None] + 4, [LAYER], side=3
    )


def moved(model: nn.Module, **words: Any) -> Any:
    words = {"shifts": [0, 2], "scales": [1, 1.5], "angles": [0, 90], **words}
    return invariance(model, random_images(), [LAYER], torch.zeros(3, dtype=torch.long), **words)


ANALYSES: dict[str, Callable[[nn.Module], Any]] = {
    "correspondence": changed,
    "invariance": moved,
    "occlusion": lambda model: occlusion_sweep(model, random_images(), 0, 3, 3, layer=LAYER),
    "top activations": lambda model: top_activations(
        model, [random_images()], [LAYER], progress=False
    ),
    "doctor": lambda model: doctor(model, [LAYER], random_images()),
    "sanity": lambda model: sanity_checks(
        model, random_images(), random_images(), LAYER, [Unit(0, 0, 1, 1)], [1]
    ),
}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ANALYSES)
def test_they_are_an_error(name: str, value: float) -> None:
    with pytest.raises(InputError) as error:
        ANALYSES[name](net(weight=value))
    assert "\n" not in str(error.value)
    first = "2" if name in ("occlusion", "invariance") else LAYER  # which look at the outputs first
    assert f"layer '{first}'" in str(error.value)


def test_a_layer_that_is_not_finite_where_the_outputs_are() -> None:
    class Repaired(nn.Module):
        """The classifier sees 0 for NaN."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net(weight=torch.nan)

        def forward(self, x: Tensor) -> Tensor:
            return self.net[4:](self.net[:4](x).nan_to_num(0))

    with pytest.raises(InputError, match=r"layer net\.3 is not finite"):
        occlusion_sweep(Repaired().eval(), random_images(), 0, 3, 3, layer="net.3")


@pytest.mark.parametrize(
    "model", [net(bias=-1e6), net(bias=1, weight=0)], ids=["all 0", "always the same"]
)
def test_a_dead_layer_neither_corresponds_nor_is_invariant(model: nn.Module) -> None:
    found = changed(model)[LAYER]
    assert {value for each in found.values() for value in vars(each).values()} == {None}
    for answer in moved(model).values():
        assert answer.dead.tolist() == [True]
        assert answer.normalized.isnan().all()
        assert not answer.distances.any()


def test_a_layer_that_lives_is_not_dead() -> None:
    """Also where nothing but the identity is asked for."""
    for words in ({}, {"shifts": [0], "scales": [1], "angles": [0]}, {"angles": [0]}):
        for answer in moved(net(), **words).values():
            assert answer.dead.tolist() == [False]
            assert answer.normalized.isfinite().all()
