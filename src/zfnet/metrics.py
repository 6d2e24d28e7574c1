"""Top-1 and top-5 error and mean accuracy per class, as fractions."""

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy


class TopKError(MulticlassAccuracy):
    """The share of images whose true class is not among the k most probable ones."""

    def __init__(self, num_classes: int, k: int, alone: bool = False) -> None:
        super().__init__(
            num_classes, top_k=k, average="micro", validate_args=False, sync_on_compute=not alone
        )

    def compute(self) -> Tensor:
        return 1 - super().compute()


class ClassAccuracy(MulticlassAccuracy):
    """The mean of the accuracies of the classes, over classes that have images."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="macro", validate_args=False)

    def compute(self) -> Tensor:
        right, missed = torch.as_tensor(self.tp), torch.as_tensor(self.fn)  # (classes,) each
        count = right + missed
        return (right / count)[count > 0].mean()


def error_metrics(num_classes: int, prefix: str, alone: bool = False) -> MetricCollection:
    """Top-1 error, and top-5 error for more than five classes.

    Args:
        num_classes: the number of classes.
        prefix: of the names.
        alone: whether the images of this process count only, not those of all processes.
    """
    errors = {
        f"top{k}_error": TopKError(num_classes, k, alone)
        for k in (1, 5)
        if k == 1 or num_classes > k
    }
    return MetricCollection(errors, prefix=prefix, compute_groups=False)  # type: ignore[arg-type]


def evaluation_metrics(num_classes: int, prefix: str) -> MetricCollection:
    """`error_metrics` and the mean accuracy per class."""
    metrics = error_metrics(num_classes, prefix)
    metrics.add_metrics({"class_accuracy": ClassAccuracy(num_classes)})
    return metrics
