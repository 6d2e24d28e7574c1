"""The paper's measurements as plain functions, one module for each figure or table."""

from zfnet.analysis.activation_statistics import ActivationStatistics, class_auc
from zfnet.analysis.connections import connections
from zfnet.analysis.correspondence import SignChange, correspondence, random_places
from zfnet.analysis.filters import aliasing, dead_channels, dominance, frequency_content, rms
from zfnet.analysis.invariance import Response, invariance
from zfnet.analysis.localization import METHODS, energy_inside, pointing
from zfnet.analysis.occlusion import Sweep, occlusion_sweep
from zfnet.analysis.overlap import near_duplicates
from zfnet.analysis.sanity import cascade, sanity_checks, similarity

__all__ = [
    "METHODS",
    "ActivationStatistics",
    "Response",
    "SignChange",
    "Sweep",
    "aliasing",
    "cascade",
    "class_auc",
    "connections",
    "correspondence",
    "dead_channels",
    "dominance",
    "energy_inside",
    "frequency_content",
    "invariance",
    "near_duplicates",
    "occlusion_sweep",
    "pointing",
    "random_places",
    "rms",
    "sanity_checks",
    "similarity",
]
