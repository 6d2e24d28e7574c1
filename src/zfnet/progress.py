"""The bar that long jobs over images show: how many of how many, the rate, the time that is left.

with progress_bar() as bar:
    task = bar.add_task("", total=len(images))
    bar.update(task, completed=done)
"""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f} images/s")


def progress_bar(show: bool = True) -> Progress:
    """On stderr, where that is a terminal or a notebook."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(
        *columns, console=console, disable=not (show and (console.is_terminal or console.is_jupyter))
    )
