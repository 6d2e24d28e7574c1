"""Saves the metrics of an unfinished epoch in a checkpoint.

    checkpoint["metrics"] = gather_states({"train_loss": metric, ...})      # on every process
    restore_states({"train_loss": metric, ...}, checkpoint["metrics"])

torchmetrics does not include metric states in the `state_dict` of a module, and the states differ
between processes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Trainer
from torchmetrics import Metric

States = list[dict[str, dict[str, Any]]]  # one entry per process: states by metric and name


def gather_states(metrics: Mapping[str, Metric]) -> States:
    """Gathers the states of all processes on the CPU. Every process must call this.

    Args:
        metrics: metrics by name.
    """
    own = {
        name: {
            key: torch.as_tensor(value).cpu().clone() for key, value in metric.metric_state.items()
        }
        | {"updates": metric._update_count}
        for name, metric in metrics.items()
    }
    if not torch.distributed.is_initialized():
        return [own]
    states: States = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, own)
    return states


def restore_states(metrics: Mapping[str, Metric], states: States) -> None:
    """Restores the states that each metric had in this process.

    Args:
        metrics: metrics by name.
        states: the result of `gather_states`.
    """
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    for name, state in states[rank].items():
        metric = metrics[name]
        metric._update_count = state["updates"]
        metric._computed = None
        for key in metric.metric_state:
            setattr(metric, key, state[key].to(metric.device))


def in_epoch(trainer: Trainer) -> bool:
    """Whether an epoch of training is unfinished, so that its metrics are still accumulating.

    Args:
        trainer: the trainer.
    """
    progress: Any = trainer.fit_loop.epoch_progress.current
    return progress.processed < progress.ready


def unlogged(trainer: Trainer) -> dict[str, Any] | None:
    """Returns metrics that Lightning will log only after the checkpoint that is being written.

    At the end of an epoch, these are the metrics of the epoch. In `on_train_batch_end`, they are
    those of the step. Every process must call this.

    Args:
        trainer: the trainer.

    Returns:
        The arguments of `Logger.log_metrics`, or None if there are no such metrics.
    """
    loop, connector = trainer.fit_loop, trainer._logger_connector
    epoch: Any = loop.epoch_progress.current
    batch: Any = loop.epoch_loop.batch_progress.current
    step = loop.epoch_loop._batches_that_stepped
    if epoch.completed < epoch.processed:
        step -= 1
    elif (
        batch.completed == batch.processed
        or loop._should_accumulate()
        or not connector.should_update_logs
    ):
        return None
    metrics = {name: value.item() for name, value in connector.metrics["log"].items()}
    return (
        {"metrics": {**metrics, "epoch": trainer.current_epoch}, "step": step} if metrics else None
    )
