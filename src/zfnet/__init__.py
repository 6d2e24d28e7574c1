"""The laboratory of Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks" (2013).

import zfnet
net = zfnet.convnet("zfnet")                        # the paper's Figure 3, fresh
classifier = zfnet.load("outputs/train/demo/checkpoints/last.ckpt")
"""

from typing import Any

from zfnet.versions.python_names import install

install()

from zfnet.models import convnet  # noqa: E402

__all__ = ["convnet", "load"]


def __getattr__(name: str) -> Any:
    """`load` brings Lightning, which takes seconds to import: only for those who ask for it."""
    if name == "load":
        from zfnet.training import load

        return load
    raise AttributeError(f"module 'zfnet' has no attribute {name!r}")
