"""What `jobsight demo` shows: a bar on a terminal, a line every ten seconds elsewhere, a summary at the end."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.demo.truth import Truth

LINE_EVERY_SECONDS = 10.0
REDRAW_EVERY_SECONDS = 0.2


class Screen:
    """`seconds` is the length of the run, None without end. Quiet ones show nothing but `warn`."""

    def __init__(self, console: Console, seconds: float | None, *, quiet: bool) -> None:
        self._console, self._seconds, self._quiet = console, seconds, quiet
        self._next = 0.0
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
                auto_refresh=False,
            )
            self._progress.start()
            self._task = self._progress.add_task("starting", total=self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self._console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def show(self, elapsed: float, spans: int, sent: int, lost: int) -> None:
        """How far it is; as often as it pleases the caller, the screen chooses when to draw."""
        if self._quiet or elapsed < self._next:
            return
        text = f"{spans:,} spans played, {sent:,} sent" + (f", {lost:,} refused" if lost else "")
        if self._progress is not None:
            self._next = elapsed + REDRAW_EVERY_SECONDS
            self._progress.update(self._task, description=text, completed=elapsed)
            self._progress.refresh()
            return
        if elapsed >= LINE_EVERY_SECONDS:
            self.say(f"{elapsed:.0f} s: {text}")
        self._next = elapsed + LINE_EVERY_SECONDS - elapsed % LINE_EVERY_SECONDS

    def summary(self, truth: Truth, deliveries: Mapping[str, tuple[int, int, int]]) -> None:
        """The truth per job class, then (sent, refused, dropped) per signal."""
        if self._quiet:
            return
        jobs = Table(title="What the shop's workers did", title_justify="left", box=box.SIMPLE, padding=0)
        jobs.add_column("job class", no_wrap=True)
        for heading in ("jobs", "runs", "failed", "retried", "discarded", "spans", "p50 ms", "p95 wait ms"):
            jobs.add_column(heading, justify="right")
        for name, job in sorted(truth.jobs.items()):
            jobs.add_row(
                name,
                *(f"{n:,}" for n in (job.enqueues, job.executions)),
                *(f"{job.outcomes[outcome]:,}" for outcome in ("failed", "retried", "discarded")),
                f"{job.spans:,}",
                _milliseconds(job.duration.quantile(0.5)),
                _milliseconds(job.waited.quantile(0.95)),
            )
        self._console.print(jobs)
        sent = Table(title="What the collector took", title_justify="left", box=box.SIMPLE)
        sent.add_column("signal")
        for heading in ("sent", "refused", "dropped"):
            sent.add_column(heading, justify="right")
        for signal, counts in deliveries.items():
            sent.add_row(signal, *(f"{count:,}" for count in counts))
        self._console.print(sent)


def _milliseconds(nanoseconds: int | None) -> str:
    return "-" if nanoseconds is None else f"{nanoseconds / 1e6:,.0f}"
