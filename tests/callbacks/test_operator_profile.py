"""The table of operators is that of the steps, with shares that sum to one."""

from collections.abc import Callable
from typing import Any

import pytest
from lightning import Trainer

from callbacks.operator_profile import OperatorProfile, table
from zfnet.training.classifier import Classifier


def test_the_table_by_hand() -> None:
    lines = table({"aten::mm": (3000.0, 4), "aten::add": (1000.0, 2)}, steps=2)
    assert lines == [
        "2 training steps of 2.0 ms, by operator",
        " share  ms a step  calls a step  operator",
        " 75.0%       1.50             2  aten::mm",
        " 25.0%       0.50             1  aten::add",
    ]


def test_it_names_the_operators_of_a_step(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., Any],
    tiny_trainer: Callable[..., Trainer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of three steps the second and third; once, not in every epoch."""
    caplog.set_level("INFO", "callbacks")
    trainer = tiny_trainer(callbacks=[OperatorProfile(steps=5)], max_epochs=2)
    trainer.fit(tiny_classifier(), datamodule=tiny_data())
    (line,) = (record.message for record in caplog.records if "by operator" in record.message)
    assert line.startswith("2 training steps of ")
    (convolution,) = (row for row in line.splitlines() if "convolution_backward" in row)
    assert convolution.split()[2] == "1"  # conv1
