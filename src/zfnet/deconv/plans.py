"""The plan of a layer: what its units see, and by which way they are projected.

    plans = Plans(model, Rules())
    plans.find(images, "conv5").units  # (256, 13, 13)

A plan is made by tracing the model with one image. The last one is kept, if the model consists of
modules from torch, torchvision, timm or zfnet, and none of them was replaced or reconfigured.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.tracing import Plan, make_plan
from zfnet.errors import InputError
from zfnet.models.convnet import ConvNet
from zfnet.models.introspection import input_channels
from zfnet.models.snapshot import snapshot
from zfnet.sizes import sides

Size = int | Pair | tuple[int, int, int]  # of images: a side, (H, W) or (C, H, W)


class Plans:
    """Makes the plans of the layers of a model.

    Args:
        model: any convnet.
        rules: of the backward pass.
    """

    def __init__(self, model: nn.Module, rules: Rules) -> None:
        self.model, self.rules = model, rules
        self._known: tuple[Any, Plan] | None = None  # the last plan, and its key
        self._shape: tuple[int, int, int] | None = None  # (C, H, W) of the last images
        if isinstance(model, ConvNet):
            self._shape = (input_channels(model) or 3, *sides(model.image_size))

    def find(self, images: Tensor, layer: str) -> Plan:
        """Returns the plan of a layer.

        Args:
            images: (B, C, H, W).
            layer: name of the layer.

        Raises:
            InputError: the images are not floating-point (B, C, H, W), or the layer has no
                deconvnet.
        """
        if images.dim() != 4 or not images.is_floating_point() or not len(images):
            raise InputError(
                f"images are {images.dtype} of shape {tuple(images.shape)}: floating-point (B, C, "
                "H, W) are needed"
            )
        self._shape = (images.shape[1], images.shape[2], images.shape[3])
        state = snapshot(self.model)
        key = (layer, self._shape, self.rules, state)
        known = self._known
        if known is not None and state is not None and known[0] == key:
            return known[1]
        plan = make_plan(self.model, self.rules, images[:1], layer)
        self._known = (key, plan) if self._shares_memory(plan) else None
        return plan

    def for_size(self, layer: str, size: Size | None) -> Plan:
        """Returns the plan of a layer for images of a size.

        Args:
            layer: name of the layer.
            size: a side, (H, W) or (C, H, W); None for that of a `ConvNet`, or of the last images.

        Raises:
            InputError: the size is not known, or the layer has no deconvnet.
        """
        return self.find(self._blank(size), layer)

    def _blank(self, size: Size | None) -> Tensor:
        """Returns a black image of `size`, to trace the model with."""
        known = self._shape
        given = (size, size) if isinstance(size, int) else tuple(size or (known or ())[1:])
        if len(given) not in (2, 3):
            raise InputError("the size of the images is not known yet: give size=(H, W)")
        channels = (
            given[0] if len(given) == 3 else known[0] if known else input_channels(self.model)
        )
        if channels is None:
            raise InputError(
                f"{type(self.model).__name__} has no convolution, so the number of channels of its "
                "images is "
                "unknown: give size=(C, H, W)"
            )
        weight = next(self.model.parameters(), torch.empty(0))
        return torch.zeros(1, channels, *given[-2:], dtype=weight.dtype, device=weight.device)

    def _shares_memory(self, plan: Plan) -> bool:
        """Whether the chain uses the memory of the model's weights, so that it stays up to date."""
        own = {_address(tensor) for tensor in [*self.model.parameters(), *self.model.buffers()]}
        used = [
            tensor
            for step in plan.path.chain or []
            if step.kind == "conv"
            for tensor in (step.weight, step.bias)
        ]
        return all(tensor is None or _address(tensor) in own for tensor in used)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
