"""What would make the deconvnet's projections of a network misleading, layer by layer.

    python analyze.py analysis=doctor ckpt=outputs/train/demo/checkpoints/last.ckpt

Looks at images of the split, evenly spread. Writes `doctor.json` and logs it.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zfnet.deconv import doctor
from zfnet.json_output import write_json
from zfnet.model_on_data import ModelOnData
from zfnet.studies import Analysis
from zfnet.validation import Count

log = logging.getLogger(__name__)


@dataclass
class Doctor(Analysis):
    """Diagnoses layers of a network on so many images."""

    layers: Sequence[str] | None
    images: Count
    takes = "model"

    def run(self, model: ModelOnData, folder: Path) -> None:
        count = len(model.images)
        indices = range(0, count, max(1, count // self.images))[: self.images]
        diagnoses = doctor(model.net, self.layers or model.default_layers(), model.inputs(indices))
        for diagnosis in diagnoses:
            log.info("%s", diagnosis)
        write_json([asdict(diagnosis) for diagnosis in diagnoses], folder / "doctor.json", indent=1)
