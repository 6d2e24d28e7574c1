"""What an epoch's metrics have counted and not yet logged, for a checkpoint in its middle.

    checkpoint["metrics"] = gather_states({"train_loss": metric, ...})      # on every process
    restore_states({"train_loss": metric, ...}, checkpoint["metrics"])

torchmetrics leaves its states out of a module's `state_dict`, and each process has its own.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Trainer
from torchmetrics import Metric

States = list[dict[str, dict[str, Any]]]  # of each process, by metric, by state


def gather_states(metrics: Mapping[str, Metric]) -> States:
    """The states of all processes, on the CPU. Every process must call it."""
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
    """Gives each metric back what it had counted in this process."""
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    for name, state in states[rank].items():
        metric = metrics[name]
        metric._update_count = state["updates"]
        metric._computed = None
        for key in metric.metric_state:
            setattr(metric, key, state[key].to(metric.device))


def in_epoch(trainer: Trainer) -> bool:
    """Whether an epoch's steps go on, so that its metrics count further."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return progress.processed < progress.ready


def unlogged(trainer: Trainer) -> dict[str, Any] | None:
    """The points that Lightning will log only after the checkpoint that is being written, though
    they belong to what is done: of an epoch at its end, of a step in `on_train_batch_end`. Every
    process must call it.

    Returns:
        The words of `Logger.log_metrics`, or None.
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
