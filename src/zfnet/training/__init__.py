"""Training: the LightningModule, its checkpoints, and the function behind train.py (fit)."""

from zfnet.training.checkpoint import load
from zfnet.training.classifier import Classifier
from zfnet.training.networks import build

__all__ = ["Classifier", "build", "load"]
