"""Training: the LightningModule, its checkpoints, and the function behind train.py (fit)."""

from zfnet.training.checkpoint import build, load
from zfnet.training.classifier import Classifier

__all__ = ["Classifier", "build", "load"]
