"""The deconvnet: projects the activations of any convnet back to the pixels."""

from zfnet.deconv.doctor import Diagnosis, doctor
from zfnet.deconv.patches import Patches
from zfnet.deconv.projectable import projectable_layers
from zfnet.deconv.projection import Deconvnet
from zfnet.deconv.top_activations import ImageBatch, Top, TopActivations, top_activations
from zfnet.deconv.units import Unit, Window
from zfnet.deconv.variants import make_deconvnet
from zfnet.models.default_layers import convolutions, default_layers
from zfnet.models.introspection import random_subset

__all__ = [
    "Deconvnet",
    "Diagnosis",
    "ImageBatch",
    "Patches",
    "Top",
    "TopActivations",
    "Unit",
    "Window",
    "convolutions",
    "default_layers",
    "doctor",
    "make_deconvnet",
    "projectable_layers",
    "random_subset",
    "top_activations",
]
