"""`--json`: every verb that takes it has a schema in `docs/schemas`, and what it really prints is as that says."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands
from jsonschema import Draft202012Validator

from envbuilder.parsers import parsers

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = kit.ROOT / "docs" / "schemas"
SCHEMAS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
VERBS = sorted(verb for verb, parser in parsers().items() if "--json" in parser.format_help())
OTHERS = {
    "cache-channel",
    "cache-keygen",
    "error",
    "gc-why",
    "hook-install",
    "hook-show",
    "hook-uninstall",
    "run-events",
}
"""Schemas of what is no verb's only answer."""

GROUP = "vllm.general_plugins"
CALLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "add": (("add", "three", "--dry-run"),),
    "audit": (("audit", "1", "--strict"),),
    "bisect": (
        ("bisect", "--json", "sh", "-c", '! ls -d "$VIRTUAL_ENV"/lib/python*/site-packages/two* >/dev/null 2>&1'),
    ),
    "build": (("build",), ("build", "--dry-run", "--offline"), ("build", "--force", "--offline")),
    "cache": (("cache", "ls", "{cache}", "--unsigned"),),
    "cache-channel": (("cache", "channel", "{cache}", "prod", "--unsigned"),),
    "cache-keygen": (("cache", "keygen", "one", "{cache}/one.key"),),
    "check": (("check", "--offline"),),
    "diff": (("diff",), ("diff", "1", "2"), ("diff", "2", "2")),
    "disable": (("disable", "two", "--dry-run"),),
    "doctor": (("doctor", "--offline"), ("doctor", "--list")),
    "enable": (("enable", "two", "--dry-run"),),
    "export": (("export", "{cache}/set.vpm", "1", "--unsigned"),),
    "follow": (("follow", "{cache}", "prod", "--unsigned"), ("follow", "{cache}", "prod", "--unsigned")),
    "gc": (("gc", "--dry-run"), ("gc", "--keep", "1", "--grace", "0s", "--dry-run")),
    "gc-why": (("gc", "--why", "2"), ("gc", "--why", "one")),
    "history": (("history",),),
    "hook": (("hook", "status"),),
    "hook-install": (("hook", "install"),),
    "hook-show": (("hook", "show"),),
    "hook-uninstall": (("hook", "uninstall"), ("hook", "uninstall")),
    "import": (("import", "{cache}/two.vpm", "--unsigned"),),
    "info": (("info",),),
    "keep": (("keep", "1"), ("keep", "1")),
    "list": (("list",),),
    "outdated": (("outdated",),),
    "path": (("path",), ("path", "1")),
    "plugins": (("plugins",),),
    "pull": (("pull", "{cache}", "prod", "--unsigned"), ("pull", "{cache}", "prod", "--unsigned", "--no-generation")),
    "push": (("push", "{cache}", "2", "--unsigned", "--channel", "prod"), ("push", "{cache}", "2", "--unsigned")),
    "remove": (("remove", "two", "--dry-run"),),
    "rollback": (("rollback",), ("rollback", "--to", "2", "--bad")),
    "show": (("show",), ("show", "1")),
    "status": (("status",), ("status", "--pid", str(os.getpid()))),
    "switch": (("switch", "1"), ("switch", "2")),
    "tree": (("tree",), ("tree", "--all")),
    "uninstall": (("uninstall", "--dry-run"),),
    "unkeep": (("unkeep", "1"),),
    "upgrade": (("upgrade", "--dry-run", "--offline"),),
    "verify": (("verify",),),
    "why": (("why", "one"),),
}
ERRORS = (
    ("switch", "99999"),
    ("switch", "x"),
    ("why", "nothing-at-all"),
    ("build", "--upgrade", "nothing"),
    ("--config", "/nowhere.yaml", "build"),
    ("--base", "/nowhere", "status"),
)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build two generations, with a plugin that requires another package and commands that run afterwards."""
    folder = tmp_path_factory.mktemp("schemas")
    vpm_env = stands.small(folder)
    links = folder / "links"
    kit.wheel(links, "three")
    for name, requires in (("one", ()), ("two", ("three",))):
        kit.wheel(links, name, requires=requires, entry_points={GROUP: {name: f"{name}:__version__.title"}})
    for names in (("one",), ("one", "two")):
        entries = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
        keys = f"find_links: {links}\nindex: {(folder / 'none').as_uri()}\non_switch: echo switched\n"
        vpm_env.config(f"{keys}plugins:\n{entries}")
        vpm_env("build", "--offline", check=True)
    (folder / "cache").mkdir()
    vpm_env("push", folder / "cache", "2", "--unsigned", "--channel", "prod", check=True)
    vpm_env("export", folder / "cache" / "two.vpm", "2", "--unsigned", check=True)
    return vpm_env


def parts(schema: Any, where: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema in a schema with its place."""
    if not isinstance(schema, dict):
        return
    yield where, schema
    for name, inner in schema.get("properties", {}).items():
        yield from parts(inner, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        yield from parts(schema.get(key), f"{where}.{key}")
    for key in ("anyOf", "oneOf", "prefixItems"):
        for at, inner in enumerate(schema.get(key, ())):
            yield from parts(inner, f"{where}.{key}[{at}]")
    for name, inner in schema.get("$defs", {}).items():
        yield from parts(inner, f"{where}.$defs.{name}")


def referred(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return what a part of a schema refers to, or itself."""
    found: dict[str, Any] = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    return found


def test_every_verb_with_json_has_a_schema_and_is_called_here() -> None:
    assert set(SCHEMAS) == {*VERBS, *OTHERS}
    assert set(CALLS) | {"error", "run-events"} == set(SCHEMAS)  # of events, see test_judging


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_and_leaves_nothing_open_or_unexplained(name: str) -> None:
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for root in map(partial(referred, schema), schema.get("oneOf", (schema,))):
        assert root["properties"]["version"]["const"] == 1
        assert "version" in root["required"]
    for where, part in parts(schema):
        assert "properties" not in part or part.get("additionalProperties") is False, where
        for key, inner in part.get("properties", {}).items():
            assert "description" in inner or "$ref" in inner, f"{where}.{key}"


@pytest.mark.parametrize("name", CALLS)
def test_what_a_verb_prints_is_as_its_schema_says(stand: kit.VpmEnv, name: str) -> None:
    for words in CALLS[name]:
        done = stand(*(word.replace("{cache}", f"{stand.folder.parent}/cache") for word in words), "--json")
        assert done.exit in (0, 1), done.output
        problems = [error.message for error in Draft202012Validator(SCHEMAS[name]).iter_errors(done.json)]
        assert problems == [], done.output


@pytest.mark.parametrize("words", ERRORS, ids=" ".join)
def test_an_error_is_as_its_schema_says(stand: kit.VpmEnv, words: tuple[str, ...]) -> None:
    done = stand(*words, "--json")

    assert done.exit in (1, 2)
    Draft202012Validator(SCHEMAS["error"]).validate(done.json)
    assert done.stderr.startswith("error: ")
