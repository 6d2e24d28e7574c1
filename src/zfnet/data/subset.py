"""Some pictures of a data set as a data set of their own, over the store of the whole.

    half = Selection(whole, rows=[0, 2, 4], store="train")
    half.ids, half.labels, half.read(1)  # of the whole's pictures 0, 2 and 4; all classes keep their numbers

`store` names the whole's image store: selections that share it (folds, other numbers of training pictures)
decode nothing anew. What the whole knows of its pictures, `annotation` or `targets`, the selection knows too.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from zfnet.data.datasets import Source


class Selection:
    """The pictures `rows` of `whole`, in that order; of a selection, those of its own whole."""

    def __init__(
        self,
        whole: Source,
        rows: Sequence[int],
        store: str,
        redrawn: "Callable[..., Selection] | None" = None,
    ) -> None:
        """`redrawn` makes the like of it from another whole: a fold is drawn again where pictures were left out.
        Further words, fold=3, make another fold of `pool`, what this one was drawn from."""
        self.whole: Source = whole
        self.pool = whole
        self.rows, self.store, self.redrawn = list(rows), store, redrawn
        if isinstance(whole, Selection):
            self.whole, self.rows = whole.whole, [whole.rows[row] for row in rows]
        self.name, self.classes = whole.name, whole.classes
        self.ids = [self.whole.ids[row] for row in self.rows]
        self.labels = [self.whole.labels[row] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Tensor:
        return self.whole.read(self.rows[index])

    def __getattr__(self, name: str) -> Any:
        """`annotation(index)` and `targets`, where the whole has them."""
        if name == "annotation":
            known = self.whole.annotation  # type: ignore[attr-defined]
            return lambda index: known(self.rows[index])
        if name == "targets":
            return self.whole.targets[self.rows]  # type: ignore[attr-defined]
        raise AttributeError(f"a selection has no {name!r}")
