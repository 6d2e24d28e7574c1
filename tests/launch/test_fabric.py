"""The processes of an analysis: how many are started, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig

from zfnet.errors import InputError
from zfnet.launch.fabric import start_processes
from zfnet.launch.processes import started_on_node, started_outside
from zfnet.launch.run_dirs import run_name

STARTED = [
    ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, 8, 4),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "6", "SLURM_NNODES": "3"}, 6, 2),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "3"}, 6, 3),
    ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}, 4, 4),
    ({}, 1, 1),
]


@pytest.mark.parametrize(("environment", "total", "on_node"), STARTED)
def test_processes_that_were_started(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], total: int, on_node: int
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (started_outside(), started_on_node()) == (total, on_node)


def test_one_process_on_the_cpu() -> None:
    fabric = start_processes("cpu", None, 1)
    assert (fabric.global_rank, fabric.world_size, fabric.device.type) == (0, 1, "cpu")


@pytest.mark.parametrize(
    ("accelerator", "devices", "says"),
    [
        ("gpu", 1, "accelerator=gpu devices=1 num_nodes=1: "),
        ("cpu", 0, "accelerator=cpu devices=0 num_nodes=1: "),
        ("cpu", 10**9, "at most [0-9]+ processes share a CPU here"),
        ("cpu", 3, "2 processes were started; leave devices and num_nodes out"),
    ],
)
def test_what_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, devices: Any, says: str
) -> None:
    if devices == 3:
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            monkeypatch.setenv(name, "2")
        monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match=says):
        start_processes(accelerator, devices, 1)


def test_other_machines_are_not_waited_for() -> None:
    with pytest.raises(InputError, match="num_nodes=2: it would wait for the other machines"):
        start_processes("cpu", 1, 2)


def test_a_run_has_one_name_with_any_number_of_processes() -> None:
    words = ["analysis=atlas", "ckpt=a.ckpt"]
    assert run_name([*words, "devices=2", "accelerator=cpu", "num_nodes=2"]) == run_name(words)


@pytest.mark.parametrize("devices", ["2", "auto", "null", "[0,1]"])
def test_devices_are_checked(composed: Callable[..., DictConfig], devices: str) -> None:
    from zfnet.config import Analysis, check_config

    words = ["analysis=doctor", "data=creatures", "data.image_size=48"]
    check_config(composed(*words, f"devices={devices}", root="analyze"), Analysis)
    with pytest.raises(InputError, match="devices=few"):
        check_config(composed(*words, "devices=few", root="analyze"), Analysis)
