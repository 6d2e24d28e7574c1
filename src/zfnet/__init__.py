"""The laboratory of Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks" (2013).

import zfnet
classifier = zfnet.load("outputs/train/demo/checkpoints/last.ckpt")
net = zfnet.convnet("zfnet")                        # the paper's Figure 3, fresh
"""

from zfnet.models import convnet
from zfnet.training import load

__all__ = ["convnet", "load"]
