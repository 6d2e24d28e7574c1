"""The bar that long jobs over images show: how many of how many, the rate, the time that is left.

with progress_bar() as bar:
    task = bar.add_task("", total=len(images))
    bar.update(task, completed=done)
"""

from importlib.util import find_spec

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f} {self.what}/s")


def progress_bar(show: bool = True, what: str = "images") -> Progress:
    """A bar on stderr, if that is a terminal or a notebook and `show` is true.

    Args:
        show: whether to show it.
        what: is counted, for the rate.

    A notebook needs ipywidgets, without which rich warns.
    """
    console = Console(stderr=True)
    visible = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(what), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not (show and visible))
