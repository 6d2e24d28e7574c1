"""Figure 7: what a network loses when a square of the image is covered."""

from zfnet.analysis.occlusion.sweep import Sweep, occlusion_sweep

__all__ = ["Sweep", "occlusion_sweep"]
