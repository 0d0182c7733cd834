"""Make `docs/commands.md` from the parsers that read the command line.

    python docs/make_commands.py

A test compares the file with what this makes.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.commands import ALIASES, GROUPS, VERBS
from envbuilder.completion import Option, Syntax, Word, syntax_of
from envbuilder.parsers import parsers
from envbuilder.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).resolve().parent / "commands.md"
OF_EVERY_VERB = ("--config", "--base", "--home", "--profile", "--quiet", "--verbose", "--help")
HEAD = """\
# The commands

Made by `docs/make_commands.py` from the command line's own tables; do not edit it by hand.

`vpm-env VERB [OPTIONS]`. Options may stand before or behind the verb. Data go to standard output, all else to standard
error: on a terminal with colours, tables and bars, in a pipe as plain lines. `NO_COLOR` takes the colours away.

| exit code | |
|---|---|
| 0 | done; of a verb that answers yes or no (`status`, `check`, `verify`, `doctor`): yes |
| 1 | failed, or no |
| 2 | the command line is wrong, or a name in it names nothing: a verb, generation, package, plugin, check |
| 3 | changes are needed (`build --locked`, `outdated --check`) |
| 130 | interrupted; nothing was switched |

A generation is named by its number, or by as many first digits of its digest as no other one begins with; digits alone
are a number first. Some verbs have names of other tools too; those stand behind "Also". `vpm-env help VERB` shows the
same as `vpm-env VERB --help`.

What packages say of themselves (names, versions, errors) is shown with control characters spelled out, so that no
terminal obeys them; in JSON they are escaped.

## Options of every verb

{every}

## JSON

With `--json`, a verb prints one record with `"version": 1` at its root. Its schema (JSON Schema 2020-12) is linked
at the verb; what is not in a schema is not printed. A verb that fails prints a record of
[this schema](schemas/error.json) instead, and says the same on standard error.
"""

NOTES = {
    "build": (
        "It resolves, locks, fetches and builds what is not in the store yet, links the set, looks it over, "
        "loads every entry point in a fresh process, makes a generation and switches to it. Whatever fails, "
        "`current` stays. Where nothing has changed it does nothing, and asks nobody."
    ),
    "check": (
        "`--base` may be given several times: one line each, exit code 1 unless all fit. The config is "
        "resolved, audited and probed as `build` does it; nothing is switched or recorded, and no lock is written. "
        "Packages and overlays stay in the home, so that a build takes them as they are; `gc` removes what none "
        "took. Where there is no home, or one that you may not write to, nothing stays."
    ),
    "add": (
        "The file keeps every other byte: comments, order, quotes. With `--build` the file is as it was if "
        "the build fails. A password or token in a URL is refused: write `${NAME}`, which is read from that "
        "variable. A file without `plugins:` gets it; one written as JSON stays JSON."
    ),
    "new": (
        "The project installs as it is (`pyproject.toml`, `src/`, a test, `plugins.yaml` with its entry). Its test "
        "needs no engine; what does need one is skipped where there is none."
    ),
    "template": (
        "Without a name it lists them. Behind `--` stands the command that serves, where it is not the engine's own: "
        "`vpm-env template systemd -- vllm serve MODEL --port 9000`. Nothing is written without `--output`, and "
        "nothing written over without `--force`. The images need a wheel of vpm-env beside the Dockerfile, "
        "whose head says how."
    ),
    "rollback": (
        "It goes back in the order in which generations became current, past bad ones. It needs no network, "
        "no resolver and no engine that works, as long as the set is on disk; a collected one is rebuilt from "
        "its lock, and that is said. What was rolled back stays so until the config changes or `switch` takes "
        "it again."
    ),
    "status": (
        "The first line answers; the base's interpreter is started and asked what its hook did. Exit code 1 "
        "where a new engine process would not get the current set: the reason and the way forward are told."
    ),
    "plugins": (
        "It prints the value that the engine's allow-list variable needs for exactly this set, with the "
        "engine's own entries kept. It sets nothing; `eval` of its `--export` does, for that line is "
        "quoted for a shell. A name with a comma cannot be listed: it is left out, and that is told."
    ),
    "sbom": "CycloneDX, as JSON; its schema is that of CycloneDX.",
    "hook": (
        "`install` puts a small distribution into the base's site-packages, `uninstall` takes it out, `show` "
        "prints what would be written, `status` says what is there. Nothing else is ever written into a base."
    ),
    "path": "The path is written byte by byte, for `$(vpm-env path)`.",
    "run": (
        "The command begins with the first word that is no option of `run`, and everything behind it is the "
        "command's own; `--` before it does no harm. The set's and the base's commands are on PATH, and the process "
        "and its children keep this set, whatever is switched meanwhile. With `--health` it stays with the command, a "
        "server: see [operations.md](operations.md)."
    ),
    "shell": (
        "It starts `$SHELL` with the set; your own start-up files are read, and the prompt is marked with "
        "profile and generation: `(default:7)`. It exits with what the shell exits with. A shell inside a "
        "shell is told."
    ),
    "completion": (
        "For bash `source <(vpm-env completion bash)`; for zsh the same behind `compinit`, or a file `_vpm- "
        "env` on `fpath`; for fish `vpm-env completion fish | source`."
    ),
    "doctor": (
        "Each check says what is wrong, why that hurts and what to do. `--fix` mends what is safe to mend. "
        "Exit code 1 if something is an error; warnings are none."
    ),
    "gc": (
        "Spared are the current generation, the one that a rollback would go to, the newest, kept ones, what "
        "was current in the last 24 hours, and what a living process uses. A dry run says what would be "
        "freed."
    ),
    "uninstall": (
        "It removes the hook of the base and everything of vpm-env's in the home, and prints what is left: "
        "config and lock are yours."
    ),
}
"""What help has no room for."""


def main() -> None:
    """Write the page."""
    FILE.write_text(page(), encoding="utf-8")
    sys.stdout.write("wrote docs/commands.md\n")


def page() -> str:
    """Return the page."""
    syntaxes = {verb: syntax_of(verb, parser) for verb, parser in parsers().items()}
    own = [option for option in syntaxes["status"].options if option.names[0] in OF_EVERY_VERB]
    lines = [HEAD.format(every="\n".join(table(own)))]
    for group in GROUPS:
        lines.append(f"## {group}\n")
        for verb in (verb.name for verb in VERBS.values() if verb.group == group):
            lines += section(syntaxes[verb])
    return "\n".join(lines)


def section(syntax: Syntax) -> Iterator[str]:
    """Describe one verb."""
    own = [option for option in syntax.options if option.names[0] not in OF_EVERY_VERB]
    yield f"### {syntax.verb}\n"
    yield f"{syntax.summary[0].upper()}{syntax.summary[1:]}{'' if syntax.summary.endswith('?') else '.'}\n"
    yield f"```console\n$ {SAMPLES[syntax.verb]}\n```\n"
    if syntax.verb in NOTES:
        yield textwrap.fill(NOTES[syntax.verb], 120, break_on_hyphens=False) + "\n"
    rows = [(spelled(word), word.summary) for word in syntax.words]
    rows += [(" ".join(map(code, option.names)) + value_of(option), option.summary) for option in own]
    if rows:
        yield "| | |\n|---|---|"
        yield from (f"| {left} | {escaped(right)} |" for left, right in rows)
        yield ""
    if any(option.names[0] == "--json" for option in own):
        others = "".join(f", [{path.stem}](schemas/{path.name})" for path in schemas(syntax.verb)[1:])
        yield f"Schema: [{syntax.verb}](schemas/{syntax.verb}.json){others}\n"
    if also := [code(name) for name, verb in ALIASES.items() if verb == syntax.verb]:
        yield f"Also: {', '.join(also)}\n"


def schemas(verb: str) -> list[Path]:
    """Name the schemas of a verb, its own first."""
    folder = FILE.parent / "schemas"
    return [folder / f"{verb}.json", *sorted(folder.glob(f"{verb}-*.json"))]


def table(options: list[Option]) -> Iterator[str]:
    """Make a table of options."""
    yield "| | |\n|---|---|"
    for option in options:
        yield f"| {' '.join(map(code, option.names))}{value_of(option)} | {escaped(option.summary)} |"


def spelled(word: Word) -> str:
    """Spell a word: its choices, else its name."""
    return " ".join(map(code, word.choices)) or code(word.label) + (" …" if word.repeats else "")


def value_of(option: Option) -> str:
    """Spell an option's value."""
    return f" {code(option.value.label)}" if option.value else ""


def code(text: str) -> str:
    """Set a word as code."""
    return f"`{text}`"


def escaped(text: str) -> str:
    """Make a text fit for a cell of a table."""
    return re.sub(r"%%", "%", text).replace("|", "\\|")


if __name__ == "__main__":
    main()
