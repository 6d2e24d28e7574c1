"""What would make the deconvnet's pictures of a net misleading, layer by layer.

    python analyze.py analysis=doctor ckpt=outputs/train/demo/checkpoints/last.ckpt

Looks at some pictures of the split, evenly spread, and writes `doctor.json` beside what it says in the log.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from zfnet.deconv import default_layers, doctor
from zfnet.model_on_data import ModelOnData
from zfnet.studies.json_output import write_json
from zfnet.validation import Count

log = logging.getLogger(__name__)


def study(subject: ModelOnData, folder: Path, layers: Sequence[str] | None, images: Count) -> None:
    """Examines `layers` on so many pictures of the subject."""
    layers = list(layers) if layers else default_layers(subject.net, subject.inputs([0]))
    count = len(subject.images)
    diagnoses = doctor(subject.net, layers, subject.inputs(range(0, count, max(1, count // images))[:images]))
    for diagnosis in diagnoses:
        log.info("%s", diagnosis)
    write_json([asdict(diagnosis) for diagnosis in diagnoses], folder / "doctor.json", indent=1)
