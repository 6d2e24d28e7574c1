"""How a convnet is read back: the deconvnet, for any model."""

from zfnet.deconv.projection import Deconvnet, Patches, Unit, Window

__all__ = ["Deconvnet", "Patches", "Unit", "Window"]
