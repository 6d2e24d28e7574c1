"""How numbers are drawn; one colour convention for all pictures."""

from zfnet.viz.curves import draw_curves
from zfnet.viz.evolution import evolution_sheet
from zfnet.viz.features import FeaturePanel, feature_sheet
from zfnet.viz.grid import filter_sheet, normalize_signed, save_png, stretch_contrast, tile

__all__ = [
    "FeaturePanel",
    "draw_curves",
    "evolution_sheet",
    "feature_sheet",
    "filter_sheet",
    "normalize_signed",
    "save_png",
    "stretch_contrast",
    "tile",
]
