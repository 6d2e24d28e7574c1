"""Small nets for the deconvnet's tests: random chains, and known architectures with seeded weights.

`chains()` draws with hypothesis. Half of its nets hold small whole numbers and nothing that rounds:
float64 is exact there, so shared maxima and zeros are frequent and equal on every machine. The
others hold normal numbers, with contrast normalization, batch norm and 3x3 averages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from zfnet.models import ContrastNormalization


@dataclass(frozen=True)
class Chain:
    """A float64 chain in evaluation mode and its images; `exact`: nothing in it rounds."""

    net: nn.Sequential
    sides: tuple[int, int]
    exact: bool
    seed: int

    @property
    def images(self) -> Tensor:  # (2, 3, H, W)
        return numbers((2, 3, *self.sides), self.exact, torch.Generator().manual_seed(self.seed))


def numbers(shape: tuple[int, ...], exact: bool, generator: torch.Generator) -> Tensor:
    """More above 0 than below, so that much is active."""
    if exact:
        return torch.randint(-2, 4, shape, generator=generator).double()
    return 0.4 + torch.randn(shape, generator=generator, dtype=torch.float64)


@st.composite
def chains(draw: Callable[..., Any]) -> Chain:
    side, exact, seed = st.integers(13, 20), draw(st.booleans()), draw(st.integers(0, 9999))
    chain = Chain(nn.Sequential(), (draw(side), draw(side)), exact, seed)
    x, generator = chain.images, torch.Generator().manual_seed(seed + 1)

    def add(module: nn.Module) -> Tensor:
        for parameter in module.parameters():
            parameter.data = numbers(tuple(parameter.shape), exact, generator)
        module.double().eval()
        chain.net.append(module)
        with torch.no_grad():
            return module(x.clone())

    def sizes(smallest: int, largest: int) -> tuple[int, int]:
        """One or two different sides, none too large for the map."""
        pair = [draw(st.integers(smallest, min(largest, side))) for side in x.shape[2:]]
        return (pair[0], pair[1])

    def pool() -> nn.MaxPool2d:
        kernel, stride = sizes(1, 3), sizes(1, 2)
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
        dilation = draw(st.sampled_from([1, 1, 1, 2])) if min(x.shape[2:]) >= 5 else 1
        return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=draw(st.booleans()))

    for _ in range(draw(st.sampled_from([2, 1, 2, 3, 3]))):
        groups = draw(st.sampled_from([1, 1, x.shape[1]]))
        dilation = draw(st.sampled_from([1, 1, 1, 2])) if min(x.shape[2:]) >= 5 else 1
        x = add(
            nn.Conv2d(
                x.shape[1],
                groups * draw(st.integers(1, 2)) if groups > 1 else draw(st.integers(1, 4)),
                sizes(1, 3),
                draw(st.sampled_from([1, 1, 1, (1, 2), (2, 1), 2])),
                padding=(draw(st.integers(0, 2)), draw(st.integers(0, 2))),
                dilation=dilation,
                groups=groups,
                bias=draw(st.booleans()),
            )
        )
        if not exact and draw(st.booleans()):
            norm = nn.BatchNorm2d(x.shape[1])
            norm.running_mean = numbers((x.shape[1],), False, generator)
            norm.running_var = 0.5 + numbers((x.shape[1],), False, generator) ** 2
            x = add(norm)
        x = add(nn.ReLU(inplace=draw(st.booleans())))
        if min(x.shape[2:]) >= 3 and draw(st.sampled_from([True, True, False])):
            x = add(pool())
        if not exact and draw(st.booleans()):
            x = add(ContrastNormalization(size=3, alpha=0.1, k=1.0))
        if min(x.shape[2:]) >= 3 and draw(st.sampled_from([False] * 6 + [True])):
            x = add(nn.AvgPool2d(2 if exact else 3, stride=draw(st.integers(1, 2))))
    if draw(st.sampled_from([False, False, False, True])):
        x = add(nn.Flatten())
        x = add(nn.Linear(x.shape[1], draw(st.integers(1, 4))))
        x = add(nn.ReLU())
        x = add(nn.Dropout(0.5))
        x = add(nn.Linear(x.shape[1], 2))
    return chain


@st.composite
def units_of(draw: Callable[..., Any], chain: Chain, name: str) -> tuple[int, ...]:
    """(image, map, y, x) of a unit of a layer: often at a border or in a corner, mostly an active
    one."""
    with torch.no_grad():
        values = chain.net[: int(name) + 1](chain.images)
    image = draw(st.integers(0, 1))
    sides = (*values.shape[2:], 1, 1)[:2]
    y, x = (draw(st.sampled_from([0, side - 1, draw(st.integers(0, side - 1))])) for side in sides)
    strongest = values[image].reshape(-1, *sides)[:, y, x].argmax().item()
    return (image, draw(st.sampled_from([*range(values.shape[1]), *[strongest] * 6])), y, x)


@st.composite
def layers_of(draw: Callable[..., Any], chain: Chain) -> str:
    """A layer's name, half of the time the last one's."""
    return str(
        draw(st.sampled_from([*range(len(chain.net)), *[len(chain.net) - 1] * len(chain.net)]))
    )


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The net that `build` makes, with He weights, small biases and lively batch norms of a seed,
    in float64."""
    with torch.device("meta"):
        net = build()
    net.to_empty(device="cpu").double().eval()
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        for name, values in [
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        ]:
            if not values.is_floating_point():
                values.zero_()
            elif name == "running_var" or (isinstance(module, nn.BatchNorm2d) and name == "weight"):
                values.data.uniform_(0.5, 1.5, generator=generator)
            elif values.ndim > 1:
                values.data.normal_(std=(2 / values[0].numel()) ** 0.5, generator=generator)
            else:
                values.data.normal_(std=0.1, generator=generator)
    return net
