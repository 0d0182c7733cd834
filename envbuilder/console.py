"""The one room that writes to the terminal: messages, tables and progress; rich is imported only where it draws.

Data go to standard output, all else to standard error. On a terminal there are colours and bars, in a pipe plain
lines; `NO_COLOR` takes the colours away. Much of what is told comes out of packages that anybody published: what a
terminal would obey instead of showing is escaped here, for all verbs.
"""

from __future__ import annotations

import os
import sys
import time

from envbuilder import fs
from envbuilder.contexts import contextmanager, suppress
from envbuilder.report import Reporter
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from envbuilder.errors import VpmError
    from envbuilder.paths import Environment

JSON_VERSION = 1
_STYLES = {"error": "1;31", "warning": "1;33", "hint": "1;36", "good": "1;32", "dim": "2"}
_BLANKS = "\u00a0\u3000"
"""Blanks that Python takes for unprintable; a terminal shows them."""
_JSON_BLANKS = f"\n{_BLANKS}"


class Table(NamedTuple):
    """Rows under headings; a heading that starts with `>` is of numbers, set to the right."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Console:
    """Where a verb's words go. `quiet` leaves out all but data, warnings and errors; `verbose` adds details."""

    def __init__(self, env: Environment, *, quiet: bool = False, verbose: bool = False) -> None:
        if None in (sys.stdin, sys.stdout, sys.stderr):
            from envbuilder.streams import lead_nowhere  # as a rule all are open

            lead_nowhere()
        self.quiet = quiet
        self.verbose = verbose
        self.is_terminal = sys.stderr.isatty() and env.get("TERM") != "dumb"
        self.colours = env.get("NO_COLOR") is None
        self._draws = sys.stdout.isatty() and env.get("TERM") != "dumb"
        self._mark = f"\u27e6{id(self):x}\u27e7"  # no package can know it, so none can style what it has printed
        _replace_what_cannot_be_encoded()

    def data(self, text: str) -> None:
        """Write data to standard output."""
        sys.stdout.write(self._shown(text) + "\n")

    def line(self, text: str) -> None:
        """Write a line to standard output now, for whoever follows it."""
        self.data(text)
        sys.stdout.flush()

    def path(self, path: str) -> None:
        """Write a path to standard output byte by byte, for whoever opens it."""
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
        sys.stdout.buffer.flush()

    def json(self, record: dict[str, Any]) -> None:
        """Write a record as JSON, with the schema's version at its root."""
        self.document({"version": JSON_VERSION, **record})

    def document(self, record: dict[str, Any]) -> None:
        """Write JSON whose form is somebody else's."""
        sys.stdout.write(json_text(record) + "\n")

    def say(self, text: str) -> None:
        """Tell how things went, unless asked to be quiet."""
        if not self.quiet:
            self._write(visible(text))

    def detail(self, text: str) -> None:
        """Tell what only `-v` shows."""
        if self.verbose:
            self._write(self._styled("dim", visible(text)))

    def warn(self, text: str) -> None:
        """Tell what must be known and is no reason to stop."""
        self._write(f"{self._styled('warning', 'warning:')} {visible(text)}")

    def error(self, error: VpmError) -> None:
        """Tell what went wrong, and after a blank line the way forward."""
        self._write(f"{self._styled('error', 'error:')} {visible(error.message)}")
        if error.hint:
            self._write("")
            for line in error.hint.splitlines():
                self._write(f"{self._styled('hint', 'hint:')} {visible(line)}")

    def hint(self, text: str) -> None:
        """Name the next step."""
        if not self.quiet:
            self._write(f"\n{self._styled('hint', 'hint:')} {visible(text)}")

    def table(self, table: Table) -> None:
        """Write a table to standard output: drawn on a terminal, aligned columns in a pipe."""
        if self._draws:
            self._draw(table)
        else:
            for line in aligned(Table(table.headings, [tuple(map(one_line, row)) for row in table.rows])):
                self.data(line)

    def mark(self, kind: str, text: str) -> str:
        """Style a word for standard output."""
        return f"{self._mark}{_STYLES[kind]}m{text}{self._mark}0m" if self.colours and self._draws else text

    def _shown(self, text: str) -> str:
        """Escape a text, and put in the styles of what `mark` returned."""
        return visible(text).replace(self._mark, "\x1b[")

    def reporter(self) -> Reporter:
        """Return who shows progress here: bars on a terminal, lines in a pipe, nobody if quiet."""
        if self.quiet:
            return QuietReporter(self)
        return LiveReporter(self) if self.is_terminal else LineReporter(self)

    def _draw(self, table: Table) -> None:
        from rich import box
        from rich.console import Console as RichConsole
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for heading in table.headings:
            right = heading.startswith(">")
            drawn.add_column(heading.removeprefix(">"), justify="right" if right else "left", overflow="fold")
        for row in table.rows:
            drawn.add_row(*(Text.from_ansi(self._shown(one_line(cell))) for cell in row))
        RichConsole(highlight=False, no_color=not self.colours).print(drawn)

    def _styled(self, kind: str, text: str) -> str:
        return f"\x1b[{_STYLES[kind]}m{text}\x1b[0m" if self.colours and self.is_terminal else text

    def _write(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def flush() -> None:
    """Give away what was written; whoever has closed a stream wants nothing."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()


def let_go() -> None:
    """Let what nobody takes go nowhere: this process could not end as long as it has that to write."""
    fs.lead_nowhere((1, 2))


def visible(text: str, kept: str = "\n\t") -> str:
    """Spell out what a terminal obeys instead of showing, as Python does; what is in `kept` stays as it is."""
    if text.isprintable():
        return text
    kept += _BLANKS
    return "".join(
        letter if letter.isprintable() or letter in kept else letter.encode("unicode_escape").decode()
        for letter in text
    )


def one_line(text: str) -> str:
    """Escape a text that must not break its line."""
    return visible(text, kept="")


def json_text(record: dict[str, Any]) -> str:
    """Spell JSON that a terminal only shows and that any encoding can hold."""
    import json  # only for who asks for it

    has_all = "utf" in (sys.stdout.encoding or "").lower()
    text = json.dumps(record, indent=2, ensure_ascii=not has_all)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in _JSON_BLANKS else json.dumps(letter)[1:-1] for letter in text
    )


def _replace_what_cannot_be_encoded() -> None:
    """Let a terminal or pipe of few letters have a `?` for each of the others."""
    if sys.stdout.errors in ("strict", "surrogateescape") and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def plain(value: Any) -> Any:
    """Return what JSON can hold: named tuples become records, errors their fields and words."""
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Exception):
        return {"kind": type(value).__name__, "message": str(value), "fields": plain(vars(value))}
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def aligned(table: Table) -> list[str]:
    """Set a table as lines of aligned columns, without headings' marks or trailing blanks."""
    headings = tuple(heading.removeprefix(">") for heading in table.headings)
    widths = [max(len(row[at]) for row in (headings, *table.rows)) for at in range(len(headings))]
    right = [heading.startswith(">") for heading in table.headings]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (headings, *table.rows)
    ]


class QuietReporter(Reporter):
    """Only warnings."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def warn(self, text: str) -> None:
        self.console.warn(text)


class LineReporter(Reporter):
    """One plain line a stage, and with `-v` one a step."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._steps = 0
        self._bytes = 0

    @contextmanager
    def stage(self, verb: str, *, total: int | None = None, minor: bool = False) -> Iterator[None]:
        started, self._steps, self._bytes = time.monotonic(), 0, 0
        yield
        line = stage_line(verb, self._steps, self._bytes, time.monotonic() - started)
        if minor or total == 0:
            self.console.detail(line)
        else:
            self.console.say(line)

    def step(self, what: str, *, size: int | None = None) -> None:
        self._steps += 1
        self._bytes += size or 0
        self.console.detail(f"  {what}")

    def note(self, text: str) -> None:
        self.console.say(f"note: {text}")

    def warn(self, text: str) -> None:
        self.console.warn(text)

    def detail(self, text: str) -> None:
        self.console.detail(text)


class LiveReporter(LineReporter):
    """A bar while a stage works, and the same line as in a pipe when it is done."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._advance: Any = None

    @contextmanager
    def stage(self, verb: str, *, total: int | None = None, minor: bool = False) -> Iterator[None]:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        bar = (BarColumn(bar_width=24), TextColumn("{task.completed:.0f}/{task.total:.0f}")) if total else ()
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *bar, TimeElapsedColumn())
        target = RichConsole(stderr=True, no_color=not self.console.colours)
        bars = Progress(*columns, console=target, transient=True)
        with super().stage(verb, total=total, minor=minor), bars as progress:
            task = progress.add_task(verb, total=total)

            def advance(what: str) -> None:
                progress.update(task, description=one_line(f"{verb} {what}"))
                progress.advance(task)

            self._advance = advance
            try:
                yield
            finally:
                self._advance = None

    def step(self, what: str, *, size: int | None = None) -> None:
        super().step(what, size=size)
        if self._advance:
            self._advance(what)


def stage_line(verb: str, steps: int, size: int, seconds: float) -> str:
    """Say what a stage did: `fetching: 3 packages, 44 KiB, 1.2 s`."""
    from envbuilder.planning import counted, size_text

    done = [counted(steps, "package")] if steps else []
    done += [size_text(size)] if size else []
    return f"{verb}: {', '.join([*done, f'{seconds:.1f} s'])}"
