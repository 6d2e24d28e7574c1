"""Convolutional networks: the paper's architectures, pretrained ones, and introspection."""

from zfnet.models.architectures import ALEXNET, ZFNET, apply_edit
from zfnet.models.convnet import ConvNet, convnet
from zfnet.models.geometry import Geometry, geometry, smallest_image
from zfnet.models.given_axes import set_axes
from zfnet.models.layers import ContrastNormalization, Conv, Linear, Pool
from zfnet.models.pretrained import timm_model, torchvision_model

__all__ = [
    "ALEXNET",
    "ZFNET",
    "ContrastNormalization",
    "Conv",
    "ConvNet",
    "Geometry",
    "Linear",
    "Pool",
    "apply_edit",
    "convnet",
    "geometry",
    "set_axes",
    "smallest_image",
    "timm_model",
    "torchvision_model",
]
