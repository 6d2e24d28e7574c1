"""The atlas: a static site to browse all that a network has learned."""

from zfnet.atlas.reading import Atlas, Layer, Unit, load

__all__ = ["Atlas", "Layer", "Unit", "load"]
