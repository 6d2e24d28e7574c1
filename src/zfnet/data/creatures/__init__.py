"""Creatures: generated photographs of animals and things built from parts, with the truth about every pixel.

The paper says that a network's layers come to see parts (eyes, noses, wheels), and that its answer follows
the object and not its surroundings. Such claims need pictures whose parts are known. Here twelve classes are
assembled from shared parts in shared colours, before cluttered backgrounds, and each picture comes with the
exact mask, box and part positions, without a download.

    train = Creatures(3000, seed=0, split="train", size=128)
    train.read(7)                           # uint8 (3, 128, 128)
    train.annotation(7).parts["left_eye"]   # (x, y) in pixels

One picture is made by: dice (random numbers) -> scene (backdrop, clutter) -> recipes (what a class is made
of) -> pose (where each part comes to lie) -> canvas (painting) -> photo (light, coat, grain).
"""

from zfnet.data.creatures.dataset import Annotation, Creatures

__all__ = ["Annotation", "Creatures"]
