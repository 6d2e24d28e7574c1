"""What is measured: plain functions, one file per figure or table of the paper."""

from zfnet.analysis.localisation import energy_inside

__all__ = ["energy_inside"]
