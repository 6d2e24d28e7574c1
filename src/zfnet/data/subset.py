"""Some images of a data set as a data set of their own, which shares the image store of the whole.

    half = Selection(whole, rows=[0, 2, 4], store="train")
    half.ids, half.labels, half.read(1)  # of images 0, 2 and 4 of the whole

Classes keep their indices. Selections with the same `store` (folds, other numbers of training
images) are decoded once.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from zfnet.data.source import AnnotatedSource, Annotation, MultiLabelSource, Source
from zfnet.versions.python_names import renamed


@renamed(redrawn="resample")
class Selection:
    """The images `rows` of `whole`, in that order. A selection of a selection refers to the whole
    itself.

    It has `targets` or `annotation` where the whole has them.

    Args:
        whole: the data set.
        rows: indices into it.
        store: the name of the whole's image store.
        resample: draws the same kind of selection from another whole. `resample(pool, fold=3)`
            draws another fold.

    Attributes:
        whole: the data set that `rows` refer to.
        pool: what the selection was drawn from, `whole` or a selection of it.
    """

    def __init__(
        self,
        whole: Source,
        rows: Sequence[int],
        store: str,
        resample: "Callable[..., Selection] | None" = None,
    ) -> None:
        self.whole: Source = whole
        self.pool = whole
        self.rows, self.store, self.resample = list(rows), store, resample
        if isinstance(whole, Selection):
            self.whole, self.rows = whole.whole, [whole.rows[row] for row in rows]
        self.name, self.classes = whole.name, whole.classes
        self.ids = [self.whole.ids[row] for row in self.rows]
        self.labels = [self.whole.labels[row] for row in self.rows]
        if isinstance(self.whole, MultiLabelSource):
            self.targets = self.whole.targets[self.rows]
        if isinstance(self.whole, AnnotatedSource):
            self.annotation = self._annotation

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Tensor:
        return self.whole.read(self.rows[index])

    def _annotation(self, index: int) -> Annotation:
        return self.whole.annotation(self.rows[index])  # type: ignore[attr-defined]
