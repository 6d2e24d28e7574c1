"""Lightning adapters: when to act during training and where to log; zfnet has the mathematics."""

from callbacks.atlas import Atlas
from callbacks.deconvnet_dump import DeconvnetDump
from callbacks.feature_evolution import FeatureEvolution
from callbacks.filter_images import FilterImages
from callbacks.filter_renormalization import FilterRenormalization
from callbacks.learning_curves import LearningCurves
from callbacks.operator_profile import OperatorProfile
from callbacks.recent_checkpoint import RecentCheckpoint
from callbacks.stop_checkpoint import StopCheckpoint
from callbacks.throughput import Throughput
from callbacks.weight_histograms import WeightHistograms

__all__ = [
    "Atlas",
    "DeconvnetDump",
    "FeatureEvolution",
    "FilterImages",
    "FilterRenormalization",
    "LearningCurves",
    "OperatorProfile",
    "RecentCheckpoint",
    "StopCheckpoint",
    "Throughput",
    "WeightHistograms",
]
