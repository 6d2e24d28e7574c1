"""Creatures: generated images of animals and things built from parts, with exact annotations.

The paper says that layers come to respond to parts (eyes, noses, wheels), and that the output
follows the object and not its surroundings. Such claims need images whose parts are known. Here
twelve classes are assembled from shared parts in shared colors, on cluttered backgrounds. Each
image has an exact mask, box and part positions. No download is needed.

    train = Creatures(3000, seed=0, split="train", size=128)
    train.read(7)                           # uint8 (3, 128, 128)
    train.annotation(7).parts["left_eye"]   # (x, y) in pixels

An image is made in steps: rng (random numbers) -> scene (backdrop, clutter) -> recipes (the parts
of a class) -> pose (where each part is) -> canvas (painting) -> photo (light, coat, grain)."""

from zfnet.data.creatures.dataset import Creatures
from zfnet.data.source import Annotation

__all__ = ["Annotation", "Creatures"]
