"""Starts the processes that share an analysis, by Lightning Fabric.

    fabric = start_processes(accelerator="auto", devices=2, num_nodes=1)
    fabric.device, fabric.global_rank, fabric.world_size

The processes exchange results only, no gradients. They therefore use Gloo on every device.
"""

import logging
import os
from datetime import timedelta
from typing import Any

import torch
from lightning import Fabric
from lightning.fabric.strategies import DDPStrategy

from zfnet.errors import InputError, one_line
from zfnet.launch.distributed import start_ranks_as_ours
from zfnet.launch.processes import started_on_node, started_outside

MOST = max(8, os.cpu_count() or 1)  # processes on one CPU
LONGEST_WAIT = timedelta(days=30)  # of a process that has finished its share, for the others


def start_processes(accelerator: str, devices: int | str | list[int] | None, nodes: int) -> Fabric:
    """Starts the other processes, or joins those that torchrun, SLURM or MPI started.

    Args:
        accelerator: "auto" (a GPU if there is one), "cpu", "gpu", "cuda" or "mps".
        devices: of each machine: how many, "auto" for all, or the numbers of GPUs; None for one, or
            for as many as were started.
        nodes: the number of machines.

    Returns:
        The Fabric, launched. Its device is the current one.

    Raises:
        InputError: there are no such devices, another number of processes was started, or nothing
            was started on other machines.
    """
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)  # they tell each start
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    started = started_outside()
    if devices is None:
        devices = started_on_node()
        nodes = max(nodes, started // devices)
    chosen = f"accelerator={accelerator} devices={devices} num_nodes={nodes}"
    if nodes > 1 and started == 1 and "NODE_RANK" not in os.environ:
        raise InputError(
            f"{chosen}: it would wait for the other machines for ever; start it by torchrun or srun"
        )
    if accelerator == "cpu" and isinstance(devices, int) and devices > MOST:
        raise InputError(f"{chosen}: at most {MOST} processes share a CPU here")
    strategy: Any = "auto"
    if devices != 1 or nodes != 1:
        strategy = DDPStrategy(process_group_backend="gloo", timeout=LONGEST_WAIT)
    try:
        fabric = Fabric(
            accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy
        )
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{chosen}: {one_line(error)}") from error
    if started not in (1, fabric.world_size):
        raise InputError(
            f"{chosen}: {started} processes were started; leave devices and num_nodes out, or "
            "start as many"
        )
    start_ranks_as_ours(fabric.strategy)
    fabric.launch()
    if fabric.global_rank > 0:
        logging.getLogger().setLevel(logging.ERROR)  # the first process tells the rest
    return fabric
