"""What two runs must share bit for bit: the state of their checkpoints and TensorBoard logs."""

from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

CLOCKS = (
    "images_per_second",
    "pct_of_peak",
    "evolution_seconds",
    "dump_seconds",
)  # differ from run to run
Point = tuple[str, int, Any]


def same(a: Any, b: Any) -> bool:
    """Whether nested containers are equal, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def shown(folder: Path) -> list[Point]:
    """(tag, step, value) of all that TensorBoard shows; None for the value of what a clock says."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    points: list[Point] = []
    for tag in tags["scalars"]:
        points += [(tag, e.step, None if tag in CLOCKS else e.value) for e in events.Scalars(tag)]
    for tag in tags["images"]:
        points += [(tag, e.step, e.encoded_image_string) for e in events.Images(tag)]
    for tag in tags["tensors"]:
        points += [(tag, e.step, e.tensor_proto.SerializeToString()) for e in events.Tensors(tag)]
    return sorted(points, key=lambda point: point[:2])


def stored(folder: Path) -> list[tuple[str, int]]:
    """(tag, step) of everything in the event files, whether or not TensorBoard would pass it
    over."""
    found = []
    for path in sorted(folder.glob("events.*")):
        for raw in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(raw)
            found += [(value.tag, event.step) for value in event.summary.value]
    return sorted(found)
