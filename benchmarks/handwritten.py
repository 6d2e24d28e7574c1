"""ZFNet as one writes it by hand in plain PyTorch: the peer of the training benchmarks.

net = by_hand(zfnet)  # the same weights and the same logits as the ConvNet `zfnet`, without dropout
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.models import ConvNet

CLASSES = 1000


def by_hand(zfnet: ConvNet) -> nn.Sequential:
    """Figure 3 with torch's own modules, in NCHW, with a copy of the weights of `zfnet`."""
    net = nn.Sequential(
        nn.Conv2d(3, 96, 7, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        nn.Conv2d(96, 256, 5, stride=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        nn.Conv2d(256, 384, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(zfnet.fc6.linear.in_features, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, zfnet.fc8.linear.out_features),
    )
    with torch.no_grad():
        for mine, theirs in zip(net.parameters(), zfnet.parameters(), strict=True):
            mine.copy_(theirs)
    return net


def autocast(bf16: bool) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16)


def training_step(net: nn.Module, bf16: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Forward, backward and SGD with momentum, by hand; (images, labels) → loss."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with autocast(bf16):
            loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
