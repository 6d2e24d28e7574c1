"""Figure 7: what a net loses when a square of the image is covered, computed only where the square touches."""

from zfnet.analysis.occlusion.sweep import Sweep, occlusion_sweep

__all__ = ["Sweep", "occlusion_sweep"]
