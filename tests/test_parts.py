"""Parts of a job are found once each, in any number of runs, and checked when they are read."""

from pathlib import Path
from typing import Any

import pytest
import torch

from zfnet.errors import InputError
from zfnet.parts import Parts

FINGERPRINT = {"net": "a"}


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path, "job", FINGERPRINT)


def number_of(number: int, state: Any) -> int:
    if state["number"] != number:
        raise ValueError(f"it is part {state['number']}")
    return state["number"]


def test_a_job_continues_with_the_parts_that_are_missing(parts: Parts) -> None:
    for number in parts.missing(4)[:2]:
        parts.begun(number).save({"half": number})
        parts.save(number, {"number": number})
    again = Parts(parts.folder, "job", FINGERPRINT)
    assert again.missing(4) == [2, 3]
    for number in (3, 2):
        again.save(number, {"number": number})
    assert again.missing(4) == []
    assert again.results(4, number_of) == [0, 1, 2, 3]
    assert sorted(path.name for path in parts.folder.iterdir()) == [
        f"job_{number}.pt" for number in range(4)
    ]
    again.delete()
    assert not list(parts.folder.iterdir())


def test_parts_of_another_network_are_refused_at_the_start(parts: Parts) -> None:
    parts.save(0, {"number": 0})
    other = Parts(parts.folder, "job", {"net": "b"})
    with pytest.raises(InputError, match=r"job_0\.pt was made with net=a, and this run has net=b"):
        other.missing(2)


def test_a_damaged_part_is_one_line(parts: Parts) -> None:
    parts.save(0, {"number": 1})
    with pytest.raises(InputError, match=r"job_0\.pt: is damaged .*it is part 1"):
        parts.results(1, number_of)
    torch.save([1], parts.folder / "job_0.pt")
    with pytest.raises(InputError, match=r"job_0\.pt: is damaged"):
        parts.missing(1)


def test_a_part_that_never_appears(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zfnet.parts.APPEARS", -1)
    parts.save(0, {"number": 0})
    with pytest.raises(InputError, match=r"job_1\.pt: another process wrote it, and it is not"):
        parts.results(2, number_of)
