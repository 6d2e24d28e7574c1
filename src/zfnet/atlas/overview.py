"""The overview of an atlas: the network, the data, and what was found in each layer.

The keys are described in docs/atlas.md.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zfnet.atlas.files import FORMAT
from zfnet.atlas.records import LayerFindings, class_names
from zfnet.atlas.run_files import RunFiles
from zfnet.atlas.units import EXAMPLES, ROWS, UnitTiles
from zfnet.deconv import Deconvnet
from zfnet.deconv.doctor import Diagnosis
from zfnet.model_on_data import ModelOnData, has_annotations
from zfnet.models.snapshot import net_fingerprint
from zfnet.sizes import sides


@dataclass(frozen=True)
class Settings:
    """What an atlas shows.

    Attributes:
        k: images of each channel.
        contrast: K of contrastive projections.
        seed: of the random channels and weights of the controls.
        occlusion: whether to show occlusion maps, which take many passes of each image.
    """

    k: int = 9
    contrast: int = 16
    seed: int = 0
    occlusion: bool = False


@dataclass(frozen=True)
class Origin:
    """Where a network and its images come from.

    Attributes:
        title: what the network is called.
        split: the split of the data set that the images are.
        checkpoint: of train.py. The folder of its run has the training curve and the evolution of
            features.
        epochs: of training that the checkpoint has seen. What the run did later is not shown.
    """

    title: str
    split: str = "val"
    checkpoint: Path | None = None
    epochs: int | None = None

    @property
    def run(self) -> RunFiles:
        """The files of the run."""
        folder = None if self.checkpoint is None else self.checkpoint.absolute().parent.parent
        return RunFiles(folder, self.epochs)


def describe_layer(
    model: ModelOnData, number: int, found: LayerFindings, tiles: UnitTiles, diagnosis: Diagnosis
) -> dict[str, Any]:
    """Describes a layer.

    Args:
        model: the network and the images.
        number: of the layer, from the pixels up.
        found: what was measured.
        tiles: what is shown.
        diagnosis: what could mislead.
    """
    deconv = Deconvnet(model.net)
    channels, rows, columns = deconv.units(found.name, model.shape)
    # the dead channels of all images and the extended rules are in other entries
    warnings = str(replace(diagnosis, dead_channels=[], extended={})).split("\n    ")[1:]
    return {
        "name": found.name,
        "folder": f"layer_{number}",
        "channels": channels,
        "size": (rows, columns),
        "window": diagnosis.field,
        "tile": tiles.size,
        "sprite": {"columns": tiles.columns, "rows": {row: i for i, row in enumerate(ROWS)}},
        "controls": tiles.controls,
        "preview": {"channels": tiles.preview, "tile": tiles.size},
        "rules": ", ".join(f"{rule} x {uses}" for rule, uses in diagnosis.extended.items()),
        "warnings": warnings,
        "dead": found.dead.nonzero()[:, 0].tolist(),
        "dominant": found.dominant.nonzero()[:, 0].tolist(),
        "saturated": found.saturated.nonzero()[:, 0].tolist(),
        "selective": int(found.selective().sum()) if class_names(model) else 0,
        "energy_on_object": found.on_object.nanmean().item(),
        "energy_by_chance": found.by_chance.nanmean().item(),
    }


def describe_network(
    model: ModelOnData,
    origin: Origin,
    settings: Settings,
    sampled: int,
    fingerprint: str,
    layers: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Describes a network, its data and its layers.

    Args:
        model: the network and the images.
        origin: where they come from.
        settings: what the atlas shows.
        sampled: the number of images whose activations are kept.
        fingerprint: of all that the atlas depends on.
        layers: descriptions of the layers, by `describe_layer`.
    """
    net, images, classes = model.net, model.images, class_names(model)
    sizes = images.labels.bincount(minlength=len(classes)).tolist() if classes else []
    return {
        "version": FORMAT,
        "title": origin.title,
        "net": {
            "name": type(net).__name__,
            "checkpoint": None if origin.checkpoint is None else str(origin.checkpoint),
            "hash": net_fingerprint(net).split()[-1],
            "parameters": sum(each.numel() for each in net.parameters()),
        },
        "software": version("visualizing-convnets"),
        "data": {
            "name": model.source.name,
            "split": origin.split,
            "images": len(images),
            "sampled": sampled,
            "classes": classes,
            "class_images": sizes,
            "masks": has_annotations(model),
        },
        "image_size": sides(model.crop),
        "image_channels": model.shape[0],
        "made": {
            **asdict(settings),
            "examples": EXAMPLES,
            "fingerprint": fingerprint,
        },
        "training": origin.run.curves(),
        "layers": list(layers),
    }
