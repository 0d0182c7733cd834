"""What a change of the config comes to: the bytes of `plugins.yaml` → new bytes, which mean exactly what was asked.

The text is changed in place by `surgery`. What comes out is read again and compared with what was meant; if it
differs in anything, nothing is written, and the error names the line.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from envbuilder import surgery
from envbuilder.classes import replace
from envbuilder.config import Config, Git, Local, Plugin, PyPI, of_content
from envbuilder.document import Mapping, Scalar, Sequence, parse, shown
from envbuilder.errors import ConfigError, Place, Problem, UsageError
from envbuilder.names import nearest, normalized
from envbuilder.spans import Unreadable
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from envbuilder.document import Node
    from envbuilder.paths import Environment
    from envbuilder.wanted import Record, Value, Wanted

_BOM = b"\xef\xbb\xbf"
_OF_SOURCES = ("package", "version", "index", "url", "ref", "subdirectory", "path", "editable")
_WHERE = ("source", "package", "url", "subdirectory", "path")
_LISTS = ("extras", "ignore")


class Change(NamedTuple):
    """What became of one plugin.

    `action` is `added`, `changed`, `removed`, `enabled`, `disabled` or `kept` (it was so already). `keys` are the keys
    that differ, each with its value before and after (None: absent).
    """

    action: str
    plugin: str
    keys: tuple[tuple[str, Any, Any], ...] = ()


class Edited(NamedTuple):
    """A changed config: its bytes before and after, and what it means now."""

    before: bytes
    after: bytes
    config: Config
    changes: tuple[Change, ...]


def add(content: bytes, wanted: tuple[Wanted, ...], *, file: str, env: Environment) -> Edited:
    """Add plugins; one that is there already gets what is said of it now, and keeps the rest."""
    edited = _begun(content, file, env)
    for one in wanted:
        edited = _added(edited, one, env)
    return edited


def remove(content: bytes, names: tuple[str, ...], *, file: str, env: Environment) -> Edited:
    """Remove plugins; raise `UsageError` with every name that is none."""
    edited = _unchanged(content, file, env)
    for number in sorted(_numbers(edited.config, names), reverse=True):
        change = Change("removed", edited.config.plugins[number].name)
        records = _records(edited)
        del records[number]
        text = _operated(edited, number, partial(surgery.remove, number=number))
        edited = _checked(edited, text, records, change, number, env)
    return edited._replace(changes=edited.changes[::-1])


def enable(content: bytes, names: tuple[str, ...], *, enabled: bool, file: str, env: Environment) -> Edited:
    """Switch plugins on or off; raise `UsageError` with every name that is none."""
    edited = _unchanged(content, file, env)
    for number in _numbers(edited.config, names):
        plugin = edited.config.plugins[number]
        if plugin.enabled is enabled:
            edited = edited._replace(changes=(*edited.changes, Change("kept", plugin.name)))
        else:
            change = Change("enabled" if enabled else "disabled", plugin.name)
            edited = _set(edited, number, {"enabled": enabled}, (), change, env)
    return edited


def _unchanged(content: bytes, file: str, env: Environment) -> Edited:
    return Edited(content, content, of_content(content, file=file, env=env), ())


def _begun(content: bytes, file: str, env: Environment) -> Edited:
    """Begin with a config that has a list of plugins: one that lacks it gets an empty one at its end."""
    root = parse(content, file=file).root
    is_empty = isinstance(root, Scalar) and root.kind == "null" and not root.text
    if not (is_empty or (isinstance(root, Mapping) and "plugins" not in root.values)):
        return _unchanged(content, file, env)
    newline = b"\r\n" if b"\r\n" in content else b"\n"
    apart = b"" if not content.removeprefix(_BOM) or content.endswith(newline) else newline
    try:
        return _unchanged(content + apart + b"plugins: []" + newline, file, env)._replace(before=content)
    except ConfigError:
        return _unchanged(content, file, env)  # it says what was wrong before


def _added(edited: Edited, wanted: Wanted, env: Environment) -> Edited:
    meant = _meant(wanted, edited.config.file, env)
    number = _same(edited.config.plugins, meant, wanted.is_named)
    if number is None:
        records = [*_records(edited), wanted.record]
        text = _operated(edited, len(records) - 1, partial(surgery.append, record=wanted.record))
        added = tuple((key, None, value) for key, value in wanted.record.items() if key != "name")
        return _checked(edited, text, records, Change("added", meant.name, added), len(records) - 1, env)
    old = edited.config.plugins[number]
    record = _records(edited)[number]
    new, dropped = _differences(record, wanted.record, stays=_identity(old, meant) or _is_reference(old, wanted.record))
    keys = [(key, record.get(key), value) for key, value in new.items()] + [(key, record[key], None) for key in dropped]
    change = Change("changed" if keys else "kept", old.name, tuple(keys))
    return _set(edited, number, new, dropped, change, env)


def _meant(wanted: Wanted, file: str, env: Environment) -> Plugin:
    """Return the plugin that a new entry would be; raise `UsageError` with whatever is wrong with its values."""
    try:
        return of_content(_as_json({"plugins": [wanted.record]}), file=file, env=env).plugins[0]
    except ConfigError as error:
        lines = [
            f"{shown(wanted.spec)}: `{problem.key.rpartition('.')[2]}` {problem.text}" for problem in error.problems
        ]
        hint = "`--name` gives the plugin a name" if any(".name" in problem.key for problem in error.problems) else None
        raise UsageError("\n".join(lines), hint=hint) from None


def _same(plugins: tuple[Plugin, ...], meant: Plugin, is_named: bool) -> int | None:
    """Find the plugin that an addition is about: by its name, or without one of its own by where it comes from."""
    named = [at for at, plugin in enumerate(plugins) if normalized(plugin.name) == normalized(meant.name)]
    found = [] if is_named else [at for at, plugin in enumerate(plugins) if _identity(plugin, meant)]
    both = [at for at in found if at in named]
    first = [at for at in found if plugins[at].enabled]
    return next(iter([*both, *first, *found, *named]), None)


def _identity(one: Plugin, other: Plugin) -> bool:
    """Tell whether two plugins come from one place: one package, one folder of one repository, one path."""
    match one.source, other.source:
        case PyPI() as first, PyPI() as second:
            return first.package == second.package
        case Git() as first, Git() as second:
            return (first.url, first.subdirectory) == (second.url, second.subdirectory)
        case Local() as first, Local() as second:
            return first.path == second.path
    return False


def _is_reference(old: Plugin, new: Record) -> bool:
    """Tell whether a spec is the name of a plugin that is there, whatever its source, and names no other place."""
    is_name = new["source"] == "pypi" and "package" not in new
    return is_name and (isinstance(old.source, PyPI) or not {"version", "index"} & new.keys())


def _differences(old: dict[str, Any], new: Record, *, stays: bool) -> tuple[Record, tuple[str, ...]]:
    """Say which keys an entry gets and which it loses; `stays` if it comes from where it came from."""
    given = {key: value for key, value in new.items() if key != "name" and not (stays and key in _WHERE)}
    for key in _LISTS:
        if key in given and old.get(key):
            given[key] = list(dict.fromkeys([*old[key], *given[key]]))  # type: ignore[misc]
    if old.get("enabled") is False:
        given.setdefault("enabled", True)
    dropped = () if stays else tuple(key for key in _OF_SOURCES if key in old and key not in given)
    return {key: value for key, value in given.items() if not _equal(old.get(key), value)}, dropped


def _equal(old: Any, new: Value) -> bool:
    return bool(old == (new if isinstance(new, (str, bool)) else list(new)))


def _set(
    edited: Edited, number: int, new: Record, dropped: tuple[str, ...], change: Change, env: Environment
) -> Edited:
    def operation(text: str) -> str:
        for key in dropped:
            text = surgery.remove_key(text, number, key)
        for key, value in new.items():
            text = surgery.set_key(text, number, key, value)
        return text

    records = _records(edited)
    records[number] = {key: value for key, value in records[number].items() if key not in dropped} | new
    text = _operated(edited, number, operation)
    return _checked(edited, text, records, change, number, env)


def _numbers(config: Config, names: tuple[str, ...]) -> tuple[int, ...]:
    """Find plugins by their name, or by that of their package; all that are not found are told at once."""
    found: dict[int, None] = {}
    wrong: dict[str, str] = {}
    for name in names:
        numbers = _named(config.plugins, normalized(name))
        if len(numbers) == 1:
            found[numbers[0]] = None
        elif numbers:
            several = " and ".join(f"`{config.plugins[at].name}`" for at in numbers)
            wrong[f"several plugins take the package {shown(name)}: {several}"] = "write the name of the plugin"
        else:
            wrong[f"there is no plugin {shown(name)} in `{config.file}`"] = _nearest(config.plugins, name)
    if wrong:
        raise UsageError("\n".join(wrong), hint="\n".join(dict.fromkeys(wrong.values())))
    return tuple(found)


def _named(plugins: tuple[Plugin, ...], name: str) -> list[int]:
    by_name = [at for at, plugin in enumerate(plugins) if normalized(plugin.name) == name]
    return by_name or [
        at for at, plugin in enumerate(plugins) if isinstance(plugin.source, PyPI) and plugin.source.package == name
    ]


def _nearest(plugins: tuple[Plugin, ...], name: str) -> str:
    near = nearest(name, [plugin.name for plugin in plugins])
    known = ", ".join(f"`{plugin.name}`" for plugin in plugins)
    return f"did you mean `{near}`?" if near else f"there is {known}" if known else "the list of plugins is empty"


def _operated(edited: Edited, number: int, operation: Callable[[str], str]) -> str:
    try:
        return operation(_text(edited.after))
    except Unreadable:
        raise _refusal(edited.config, number) from None


def _checked(
    edited: Edited, text: str, records: list[dict[str, Any]], change: Change, number: int, env: Environment
) -> Edited:
    """Read the changed text and compare it with what was meant; raise `ConfigError` where it means anything else."""
    file = edited.config.file
    after = (_BOM if edited.before.startswith(_BOM) else b"") + text.encode()
    meant = _as_json({**_plain(parse(edited.after, file=file).root), "plugins": records})
    config = _config(after, file, env)
    expected = _config(meant, file, env)
    if isinstance(expected, ConfigError):
        raise ConfigError(
            (config if isinstance(config, ConfigError) else expected).problems, hint="nothing was written"
        )
    if isinstance(config, ConfigError) or _meaning(config) != _meaning(expected):
        raise _refusal(edited.config, number)
    return edited._replace(after=after, config=config, changes=(*edited.changes, change))


def _config(content: bytes, file: str, env: Environment) -> Config | ConfigError:
    try:
        return of_content(content, file=file, env=env)
    except ConfigError as error:
        return error


def _refusal(config: Config, number: int) -> ConfigError:
    place = config.plugins[number].place if number < len(config.plugins) else Place(config.file)
    text = "is written in a way that vpm-env does not change without changing more"
    return ConfigError(
        (Problem(place, f"plugins[{number}]", text),), hint="nothing was written; change it in an editor"
    )


def _meaning(config: Config) -> tuple[Any, ...]:
    """Return all that a config says, without places and bytes."""
    plugins = tuple(replace(plugin, place=Place("")) for plugin in config.plugins)
    apart = ("sha256", "plugins", "policy", "places")
    said = [getattr(config, name) for name in config.__slots__ if name not in apart]
    rules = tuple((rule.key, rule.allowed) for rule in config.policy.rules) if config.policy else None
    return (*said, rules, plugins)


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig")


def _records(edited: Edited) -> list[dict[str, Any]]:
    """Return the plugins as the file has them."""
    return list(_plain(parse(edited.after, file=edited.config.file).root).get("plugins") or [])


def _plain(node: Node) -> Any:
    """Return a node's plain value."""
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.values.items()}
    if isinstance(node, Sequence):
        return [_plain(item) for item in node.items]
    return {"boolean": node.is_true, "null": None}.get(node.kind, node.text)


def _as_json(record: dict[str, Any]) -> bytes:
    """Spell a config as JSON, which is YAML."""
    return json.dumps(record, ensure_ascii=False, default=list).encode()
