"""How far a long command is: one line on the terminal, nothing where there is none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def counting() -> Iterator[Callable[[str, int], None]]:
    """Yield what shows where a command is, and how many rows of that are done."""
    console = Console(stderr=True, highlight=False)
    with console.status("") as status:
        yield lambda place, rows: status.update(f"{place}: {rows} rows")
