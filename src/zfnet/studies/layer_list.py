"""All layers of a network that have units, and which of them are analyzed by default.

    python analyze.py analysis=layers model=timm model.name=convnext_atto

Writes `layers.json`: for each layer its name, the module's class, the shape of its output for one
image, the order of its axes, channels, rows and columns, what a unit sees, and the extended rules
between it and the pixels. Logs a table of the same.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zfnet.deconv import Deconvnet, Unit
from zfnet.errors import InputError
from zfnet.json_output import write_json
from zfnet.model_on_data import ModelOnData
from zfnet.models.stages import LayerOutput, layer_outputs
from zfnet.studies import Analysis

log = logging.getLogger(__name__)


@dataclass
class LayerList(Analysis):
    """Lists the layers of a network."""

    takes = "model"

    def run(self, model: ModelOnData, folder: Path) -> None:
        image = model.inputs([0])
        defaults, modules = _default_layers(model), dict(model.net.named_modules())
        deconv, entries = Deconvnet(model.net), []
        for output in layer_outputs(model.net, image):
            entry = {
                "name": output.name,
                "module": type(modules[output.name]).__name__,
                "default": output.name in defaults,
                **_describe(output),
            }
            if output.name in defaults:
                entry |= _projection(deconv, output.name, model)
            entries.append(entry)
            if output.axes is not None and entry["module"] != "Identity":
                log.info("%s", _line(entry))
        write_json({"defaults": defaults, "layers": entries}, folder / "layers.json", indent=1)
        log.info(
            "* marks the default layers; layers.json also has those whose axes are unknown, "
            "which axes= gives"
        )


def _default_layers(model: ModelOnData) -> list[str]:
    """Returns the default layers; logs why there are none."""
    try:
        return model.default_layers()
    except InputError as error:
        log.warning("%s", error)
        return []


def _describe(output: LayerOutput) -> dict[str, Any]:
    """Returns the shape of a layer's output, and of its units if its axes are known."""
    found: dict[str, Any] = {"shape": output.shape, "axes": None}
    if output.axes is not None:
        units = {"channels": output.channels, "rows": output.grid[0], "columns": output.grid[1]}
        found |= {"axes": output.axes.order, "prefix_tokens": output.axes.prefix, **units}
    return found


def _projection(deconv: Deconvnet, layer: str, model: ModelOnData) -> dict[str, Any]:
    """Returns what a unit of a layer sees, and by which rules it is projected."""
    try:
        window = deconv.window(layer, Unit(0, 0), model.shape)
    except InputError as error:
        return {"no_deconvnet": str(error)}
    field = window.bottom - window.top, window.right - window.left
    rules = deconv.extended_rules(layer, model.shape)
    note, caution = deconv.describe(layer, model.shape), deconv.caution(layer, model.shape)
    return {"field": field, "extended_rules": rules, "caution": caution, "note": note}


def _line(entry: dict[str, Any]) -> str:
    """Returns one line of the table."""
    mark = "*" if entry["default"] else " "
    units = f"{entry['channels']} x {entry['rows']} x {entry['columns']}"
    line = f"{mark} {entry['name']:32} {entry['module']:20} {entry['axes']:5} {units:16}"
    if "field" in entry:
        note = f"; {entry['note']}" if entry["note"] else ""
        line += f" sees {entry['field'][0]} x {entry['field'][1]}{note}"
    return (line + f" {entry.get('no_deconvnet', '')}").rstrip()
