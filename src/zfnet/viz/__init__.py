"""How numbers are drawn; one colour convention for all pictures."""

from zfnet.viz.curves import draw_curves
from zfnet.viz.grids import filter_sheet, save_png, signed, tiled

__all__ = ["draw_curves", "filter_sheet", "save_png", "signed", "tiled"]
