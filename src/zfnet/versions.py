"""What version 0.1 wrote, in today's names: checkpoints and configs are translated when they are read.

translate({"_target_": "zfnet.data.sources.folder"})    # {"_target_": "zfnet.data.datasets.folder"}
"""

from typing import Any

MOVED = {
    "zfnet.data.embedded.": "zfnet.data.embedded_datasets.",
    "zfnet.data.sources.": "zfnet.data.datasets.",
}


def translate(value: Any) -> Any:
    """Plain containers with every moved name replaced, at any depth.

    Args:
        value: of dicts, lists and plain values. Anything else comes out as it is.
    """
    if isinstance(value, dict):
        return {key: translate(each) for key, each in value.items()}
    if isinstance(value, list):
        return [translate(each) for each in value]
    if isinstance(value, str):
        for old, new in MOVED.items():
            if value.startswith(old):
                return new + value.removeprefix(old)
    return value
