"""ZFNet as one writes it by hand in plain PyTorch: the peer of the training benchmarks.

net = by_hand(zfnet(224))  # the same weights and logits as our ZFNet, without dropout
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring import sized
from zfnet.models import ConvNet, convnet
from zfnet.training.fused import use_fused

CLASSES = 1000
NARROW = {f"conv{i}": {"channels": 8} for i in range(1, 6)} | {
    f"fc{i}": {"units": 32} for i in (6, 7)
}
EDIT = sized({}, NARROW)  # none: as the paper has it


def zfnet(size: int, init: str = "paper") -> ConvNet:
    """ZFNet as the benchmarks have it, for images of `size` pixels."""
    return convnet("zfnet", CLASSES, size, EDIT, init)


def by_hand(ours: ConvNet) -> nn.Sequential:
    """Figure 3 with torch's own modules, in NCHW, with a copy of the weights of `ours`."""
    units = ours.fc6.linear.out_features
    a, b, c, d, e = (getattr(ours, f"conv{i}").conv.out_channels for i in range(1, 6))
    net = nn.Sequential(
        nn.Conv2d(3, a, 7, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        nn.Conv2d(a, b, 5, stride=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        nn.Conv2d(b, c, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(c, d, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(d, e, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(ours.fc6.linear.in_features, units),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(units, units),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(units, CLASSES),
    )
    with torch.no_grad():
        for mine, theirs in zip(net.parameters(), ours.parameters(), strict=True):
            mine.copy_(theirs)
    return net


def autocast(bf16: bool) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16)


def training_step(
    net: nn.Module, bf16: bool, fused: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """Forward, backward and SGD with momentum, by hand; (images, labels) → loss."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    if fused:  # as train.py does
        use_fused(optimizer)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with autocast(bf16):
            loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
