"""How a convnet is read back: the deconvnet, for any model."""

from zfnet.deconv.projection import Deconvnet, Patches, Unit, Window
from zfnet.deconv.top_activations import Top, TopActivations, top_activations

__all__ = ["Deconvnet", "Patches", "Top", "TopActivations", "Unit", "Window", "top_activations"]
