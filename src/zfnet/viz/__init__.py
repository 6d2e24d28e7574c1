"""How numbers are drawn; one colour convention for all pictures."""

from zfnet.viz.curves import draw_curves
from zfnet.viz.evolution import evolution_sheet
from zfnet.viz.features import FeaturePanel, feature_sheet
from zfnet.viz.grids import contrasted, filter_sheet, save_png, signed, tiled

__all__ = [
    "FeaturePanel",
    "contrasted",
    "draw_curves",
    "evolution_sheet",
    "feature_sheet",
    "filter_sheet",
    "save_png",
    "signed",
    "tiled",
]
