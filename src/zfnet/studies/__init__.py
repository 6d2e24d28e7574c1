"""The analyses of analyze.py: each measures a network on images and draws a figure of the paper."""

from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from zfnet.validation import check, declared_types


class Analysis(Protocol):
    """What `_target_` in conf/analysis/NAME.yaml names: a dataclass with a method `run`.

    Its fields are keys of the command line; their defaults stand in the yaml file. A subclass
    checks the types of its fields. A class with the same two members need not be a subclass.

        @dataclass
        class Brightness(Analysis):
            takes = "model"
            images: int

            def run(self, model: ModelOnData, folder: Path) -> None:
                mean = model.pixels(range(self.images)).mean().item()
                write_json({"mean": mean}, folder / "brightness.json")

    Attributes:
        takes: What `run` is given: "model", the network of `ckpt=` or `model=` on images, a
            ModelOnData; "models", a list of them, `ckpt=[A,B]`; "data", an ImageData; "runs", the
            list of folders `runs=`.
        shares: Whether several processes share the work (`devices=`). Each of them calls `run`,
            which shares images out with `zfnet.ranks` and writes in the first process. Otherwise
            only the first process calls it.
    """

    takes: ClassVar[Literal["model", "models", "data", "runs"]]
    shares: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check(vars(self), declared_types(type(self)))

    def run(self, given: Any, folder: Path, /) -> None:
        """Measures, and writes figures and numbers into `folder`.

        Args:
            given: What `takes` says.
            folder: The run's folder, which exists.

        Raises:
            InputError: The user can correct something.
        """
