"""Measurements as plain functions: the paper's, one module for each figure or table, and others."""

from zfnet.analysis.activation_statistics import ActivationStatistics, class_auc
from zfnet.analysis.cka import cka_table, linear_cka
from zfnet.analysis.connections import Connections
from zfnet.analysis.correspondence import SignChange, correspondence, random_places
from zfnet.analysis.filters import aliasing, dead_channels, dominance, frequency_content, rms
from zfnet.analysis.invariance import Response, invariance
from zfnet.analysis.localization import METHODS, energy_inside, pointing
from zfnet.analysis.matching import Matching, correlations, match_channels
from zfnet.analysis.occlusion import Sweep, occlusion_sweep
from zfnet.analysis.overlap import near_duplicates
from zfnet.analysis.sanity import cascade, sanity_checks, similarity

__all__ = [
    "METHODS",
    "ActivationStatistics",
    "Connections",
    "Matching",
    "Response",
    "SignChange",
    "Sweep",
    "aliasing",
    "cascade",
    "cka_table",
    "class_auc",
    "correlations",
    "correspondence",
    "dead_channels",
    "dominance",
    "energy_inside",
    "frequency_content",
    "invariance",
    "linear_cka",
    "match_channels",
    "near_duplicates",
    "occlusion_sweep",
    "pointing",
    "random_places",
    "rms",
    "sanity_checks",
    "similarity",
]
