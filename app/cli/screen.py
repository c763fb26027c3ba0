"""What the demo shows to a person at a terminal: progress while setting up, events as they come, a clear end."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

COLOURS = {"granted": "bold green", "denied": "bold red", "unknown": "yellow", "undecided": "dim"}


class Screen:
    """Writes events to stdout and everything else to stderr; quiet, it writes nothing."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._out = Console(highlight=False)
        self._messages = Console(stderr=True, highlight=False)

    def step(self, text: str) -> AbstractContextManager[object]:
        """Show that a step is under way."""
        if self._quiet:
            return nullcontext()
        self._messages.print(f"[dim]·[/] {text} ...")
        return nullcontext()

    def follow(self, events: Iterator[dict[str, Any] | None], seconds: float) -> Iterator[dict[str, Any]]:
        """Pass the events on while a bar shows how much of the time is over."""
        columns = (TextColumn("[dim]watching the door"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._messages, transient=True, disable=self._quiet) as progress:
            task = progress.add_task("", total=seconds)
            for event in events:
                progress.update(task, completed=progress.tasks[0].elapsed or 0)
                if event is not None:
                    yield event

    def event(self, event: dict[str, Any]) -> None:
        """Show one event as a line."""
        data, time = event["data"], event["time"][11:19]
        if "tampered" in data:
            told = data["kind"] if data["tampered"] else f"no longer {data['kind']}"
            self._out.print(f"{time}  [cyan]camera {told}[/]  {data['detail']}", soft_wrap=True)
            return
        if "state" in data:
            self._out.print(f"{time}  [cyan]camera {data['state']}[/]  {data['detail']}", soft_wrap=True)
            return
        who = data["person"]["name"] if data["person"] else "-"
        reasons = ", ".join(data["reasons"])
        measured = (
            "" if data["similarity"] is None else f"similarity {data['similarity']:.2f} of {data['threshold']:.2f}"
        )
        colour = COLOURS[data["decision"]]
        spent = data["latency_ms"]["capture_to_decision"]
        self._out.print(
            f"{time}  [{colour}]{data['decision']:<9}[/]  {who:<16} {measured}  [dim]{reasons}, {spent:.0f} ms[/]",
            soft_wrap=True,
        )

    def end(self, summary: dict[str, Any], fine: bool) -> None:
        """Show the summary and whether it went as it must."""
        table = Table.grid(padding=(0, 2))
        frames, latency = summary["frames"], summary["event_latency_ms"]
        for name, value in (
            ("granted", ", ".join(summary["granted"]) or "nobody"),
            ("strangers seen, not let in", str(summary["unknown"])),
            ("frames that exited early", f"{summary['early_exit_rate']:.0%} of {frames['analysed']}"),
            ("capture to event, median", "-" if latency["p50"] is None else f"{latency['p50']:.0f} ms"),
            ("memory", f"{summary['rss_mb']:.0f} MB"),
        ):
            table.add_row(f"[dim]{name}[/]", value)
        title = "[bold green]The door knows who you are" if fine else "[bold red]That was not how it should go"
        self._messages.print(Panel(table, title=title, expand=False, padding=(1, 2)))

    def kept(self, address: str, key: str) -> None:
        """Say how to go on with the running system."""
        self._messages.print(
            f"Still running until Ctrl-C. API description: {address}/openapi.json\nKey: {key}\nTry: "
            f"curl -H 'Authorization: Bearer {key}' {address}/v1/buildings/main/events",
            soft_wrap=True,
        )
