"""The command line: read, one call, show. The only place that catches errors and knows exit codes.

Only the words of the verb at hand are read, and each verb imports what it needs: `rollback` is what somebody waits for
at night.
"""

from __future__ import annotations

import os
import sys
from os.path import isdir, join

from envbuilder import __version__, notice
from envbuilder.arguments import OPTIONS_OF_ALL, OWN_OPTIONS, Call, Words
from envbuilder.commands import ALIASES, GROUPS, VERBS, WAYS, run_of
from envbuilder.console import Console, plain
from envbuilder.errors import UsageError, VpmError
from envbuilder.paths import environment
from envbuilder.plain_words import Plain
from envbuilder.profile import DEFAULT, Profile, current
from envbuilder.scope import Options, home
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import NoReturn

    from envbuilder.paths import Layout

INTERRUPTED = 130
_WITH_COMMAND = {
    "run": (
        *("--generation", "--without"),
        *("--health", "--health-timeout", "--health-interval", "--good-after", "--retries", "--events"),
    ),
    "bisect": ("--good", "--bad", "--with", "--timeout", "--stays-up"),
}
"""Verbs that take a command, and those of their own options that take a value."""
_WORDS = ("help", "version")
"""What is an option, and a word as well."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0, 1 failed, 2 usage, 3 changes needed, 130 interrupted."""
    given = list(sys.argv[1:] if argv is None else argv)
    words, _ = _split(given)
    env = environment()
    console = Console(env, quiet="-q" in words or "--quiet" in words, verbose="-v" in words or "--verbose" in words)
    try:
        arguments = parse(given)
        base = arguments.base if isinstance(arguments.base, str) else None  # a verb of several bases reads its own
        options = Options(config=arguments.config, base=base, home=arguments.home, profile=arguments.profile)
        call = Call(arguments, options, env, console, _parsers)
        code = run_of(VERBS[arguments.verb]).call(call)
        _settle(call)
        return code
    except VpmError as error:
        return _show_error(error, words, console)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        from envbuilder.space import refusal  # only a failure pays for it

        return _show_error(refusal(error), words, console)
    except KeyboardInterrupt:
        console.say("interrupted; nothing was switched")
        return INTERRUPTED


def end(code: int) -> None:
    """End the process without taking the interpreter apart, which is an eighth of what `rollback` does.

    What was registered for the end is run, and what was written is flushed. Where a thread still works, or a stream
    does not take the rest, this returns: the interpreter knows how to wait, and how to say it.
    """
    threading, atexit = sys.modules.get("threading"), sys.modules.get("atexit")
    if threading and threading.active_count() > 1:
        return
    if atexit:
        atexit._run_exitfuncs()  # noqa: SLF001 (as `multiprocessing` ends its processes)
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


def _settle(call: Call) -> None:
    """Make `registry.json` again where it does not say what is current; it is no reason for a verb to fail."""
    asked = call.arguments
    has_built = asked.verb == "build" and not asked.dry_run
    try:
        layout = home(call.options, call.env)
        if _is_told(layout, with_failures=not has_built):
            return
    except (OSError, VpmError):
        return
    from envbuilder.registry import renew  # as a rule it is as it should be

    if note := renew(layout):
        call.console.say(f"note: {note}")


def _is_told(layout: Layout, *, with_failures: bool) -> bool:
    """Tell whether `registry.json` says what is current, for the base that it is about.

    Unless `with_failures`, it must not tell of a build that failed since: one has succeeded.
    """
    said = notice.read(layout)
    if said is None:
        return not isdir(join(layout.profiles, DEFAULT))
    is_sound = with_failures or not said.has_failed
    return is_sound and said.generation == current(Profile(layout, DEFAULT, said.base_key))


def _show_error(error: VpmError, words: list[str], console: Console) -> int:
    if "--json" in words:
        fields = {name: value for name, value in vars(error).items() if name != "hint"}
        record = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        console.json({"error": {**record, "fields": plain(fields)}})
    console.error(error)
    return error.exit_code


def parse(words: list[str]) -> Words:
    """Parse the command line; raise `UsageError` for one that does not fit."""
    own, command = _split(words)
    at = _verb_index(own)
    if at is None:
        _without_verb(own)
    if own[at] in _WORDS:
        _answer(own[at], own[at + 1 :])
    verb = VERBS.get(ALIASES.get(own[at], own[at])) or _unknown(own[at])
    run, rest = run_of(verb), own[:at] + own[at + 1 :]
    values = Plain(run).read(rest)
    if values is None:  # argparse knows what else they may mean, or what is wrong with them
        from envbuilder.parsers import parser_of

        parser = parser_of(verb)
        read = parser.parse_intermixed_args if run.mixes else parser.parse_args
        return read(rest, Words(verb=verb.name, command=command))
    return Words(verb=verb.name, command=command, **values)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Part our own words from a command: behind `--`, or from its first own word on where a verb has one."""
    end = words.index("--") if "--" in words else len(words)
    at = _verb_index(words[:end])
    valued = _WITH_COMMAND.get(ALIASES.get(words[at], words[at])) if at is not None else None
    if at is not None and valued:
        first = _first_word(words[:end], at + 1, (*OWN_OPTIONS, *valued))
        if first is not None:
            return words[:first], words[first:]
    return words[:end], words[end + 1 :]


def _verb_index(words: list[str]) -> int | None:
    """Find the verb: the first word that is no option and no value of a global one."""
    return _first_word(words, 0, OWN_OPTIONS)


def _first_word(words: list[str], start: int, valued: Sequence[str]) -> int | None:
    """Find the first word from `start` on that is no option, and no value of the `valued` ones."""
    values = {at + 1 for at, word in enumerate(words) if word in valued}
    return next((at for at in range(start, len(words)) if not words[at].startswith("-") and at not in values), None)


def _answer(word: str, more: list[str]) -> NoReturn:
    """Answer `help`, `help VERB` and `version`."""
    at = _verb_index(more)
    if word == "version" or at is None:
        _without_verb(["--version" if word == "version" else "--help"])
    verb = VERBS.get(ALIASES.get(more[at], more[at])) or _unknown(more[at])
    from envbuilder.parsers import parser_of

    sys.stdout.write(parser_of(verb).format_help())
    raise SystemExit(0)


def _without_verb(words: list[str]) -> NoReturn:
    if "--version" in words or "-V" in words:
        sys.stdout.write(f"vpm-env {__version__}\n")
        raise SystemExit(0)
    sys.stdout.write(overview())
    raise SystemExit(0 if not words or {"-h", "--help"} & set(words) else UsageError.exit_code)


def _parsers() -> dict[str, argparse.ArgumentParser]:
    from envbuilder.parsers import parsers  # only for who lists all verbs

    return parsers()


def overview() -> str:
    """Return the help page: verbs grouped by what people want to do."""
    from textwrap import wrap

    lines = ["Build, switch and roll back the plugins of an LLM serving engine.", "", "Usage: vpm-env VERB [OPTIONS]"]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {verb.name:<12}{verb.summary}" for verb in VERBS.values() if verb.group == group]
    lines += ["", "Options of every verb:"]
    for left, right in OPTIONS_OF_ALL:
        lines += wrap(f"  {left:<19}{right}", 80, subsequent_indent=" " * 21, break_on_hyphens=False)
    return "\n".join([*lines, "", "`vpm-env VERB --help` has the rest.", ""])


def _unknown(name: str) -> NoReturn:
    from envbuilder.names import nearest  # only a mistake pays for it

    near = nearest(name, [*VERBS, *ALIASES, *WAYS, *_WORDS])
    hint = f"did you mean `vpm-env {near}`?" if near else "see `vpm-env --help`"
    if near in WAYS:
        hint = WAYS[near]
    raise UsageError(f"there is no verb `{name}`", hint=hint)
