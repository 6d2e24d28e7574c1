"""Drawing. In every image of signed numbers, 0 is mid-gray."""

from zfnet.viz.curves import draw_curves
from zfnet.viz.evolution import evolution_sheet, figure_epochs
from zfnet.viz.features import FeaturePanel, feature_sheet
from zfnet.viz.grid import filter_sheet, normalize_signed, save_png, stretch_contrast, tile

__all__ = [
    "FeaturePanel",
    "draw_curves",
    "evolution_sheet",
    "feature_sheet",
    "figure_epochs",
    "filter_sheet",
    "normalize_signed",
    "save_png",
    "stretch_contrast",
    "tile",
]
