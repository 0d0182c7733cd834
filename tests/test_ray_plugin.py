"""What a node and a driver of Ray do for a plugin set, without Ray: its agent's calls, made by the base's Python."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import homes
import jsonschema
import kit
import pytest
from homes import Rig

from envbuilder import _ray, flocks, startup
from envbuilder.paths import Layout

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

DIGEST = "0123456789abcdef" * 4
SAID = "error: the set is not for this base:\n" + "  a difference\n" * 9 + "\nhint: another"

VPM_ENV = """\
#!{python}
import json, os, shutil, subprocess, sys, time
folder = {folder!r}
with open(folder + "/words", "a") as stream:
    stream.write(json.dumps(sys.argv[1:]) + "\\n")
with open(folder + "/calls", "a") as stream:
    stream.write(json.dumps([*map(os.path.expandvars, sys.argv[1:])]) + "\\n")
mode = open(folder + "/mode").read()
if mode == "fails":
    sys.stderr.write("fetching\\n" + {said!r} + "\\n")
    sys.exit(1)
if mode == "hangs":
    child = subprocess.Popen(["sleep", "600"])
    with open(folder + "/child.new", "w") as stream:
        stream.write(str(child.pid))
    os.rename(folder + "/child.new", folder + "/child")
    child.wait()
if sys.argv[1] == "pull":
    aside, place = json.load(open(folder + "/aside"))
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.rename(aside, place)
    print(json.dumps({{"digest": sys.argv[3], "base_key": {key!r}, "path": place}}))
else:
    print(json.dumps({{"channel": sys.argv[4], "digest": open(folder + "/channel").read()}}))
"""
"""What the plugin calls: it pulls by putting back what was taken away, and notes how it was called.

`calls` has the variables filled in, once, as vpm-env does.
"""

AGENT = """
import asyncio, json, os, sys, types
from _vpm_env import ray, ray_node
context = types.SimpleNamespace(env_vars={}, py_executable=sys.executable)
node = ray_node.Node()

async def created(field, **others):
    env = {"vpm_env": field, **others}
    node.validate(env)
    uris = node.get_uris(env)
    for uri in uris:
        assert await node.create(uri, env, context, None) > 0
    node.modify_context(uris, env, context, None)
    return uris

def tell(**told):
    print(json.dumps(told))

def failure(make):
    try:
        make()
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
    return ""
"""
"""What an agent of Ray's does with a plugin, in the order in which it does it."""


@dataclass(frozen=True)
class Place:
    """A hooked base that has Ray, with generation 7, and what it calls in vpm-env's place."""

    rig: Rig
    folder: Path
    digest: str

    def agent(self, code: str, env: Mapping[str, str] | None = None) -> Any:
        """Run code as an agent would, and return what it told."""
        done = self.python(AGENT + code, env=env)
        return json.loads(done.stdout)

    def python(self, code: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return self.rig.start("-c", code, env=env, guarded=True)

    def take_away(self) -> Path:
        """Take the set away, for `pull` to bring it back; return where it has to be."""
        place = self.overlay
        (self.folder / "aside").write_text(json.dumps([str(self.folder / "taken"), str(place)]))
        place.rename(self.folder / "taken")
        return place

    @property
    def scope(self) -> list[str]:
        return ["--json", "--base", str(self.rig.base.python), "--home", str(self.rig.home)]

    @property
    def overlay(self) -> Path:
        return Path(self.rig.layout.overlay(self.rig.facts.key, self.digest))

    @property
    def calls(self) -> list[list[str]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> kit.Base:
    """Make the base once."""
    made = homes.vllm_base(tmp_path_factory.mktemp("ray"), python=sys.executable)
    kit.dist_info(made, "ray", "2.58.0")
    return made


@pytest.fixture
def place(base: kit.Base, tmp_path: Path) -> Place:
    """Install the hook for a home with a set."""
    rig = Rig.of(base, tmp_path / "h")
    digest = rig.overlay("one", "plug")
    rig.generation(7, digest)
    command = tmp_path / "vpm-env"
    command.write_text(VPM_ENV.format(python=sys.executable, folder=str(tmp_path), key=rig.facts.key, said=SAID))
    command.chmod(0o755)
    (tmp_path / "mode").write_text("works")
    startup.install(rig.facts, layout=Layout(str(rig.home)), profile="default", command=(str(command),))
    return Place(rig, tmp_path, digest)


def test_only_a_base_with_ray_gets_the_plugin_and_loses_it_again(place: Place, tmp_path: Path) -> None:
    purelib = place.rig.base.purelib
    assert (purelib / "_vpm_env/ray.py").is_file()
    assert list(purelib.glob("_vpm_env/__pycache__/ray_node.*.pyc"))
    assert startup.inspect(place.rig.facts).intact

    startup.uninstall(place.rig.facts)
    assert not (purelib / "_vpm_env").exists()
    assert list(purelib.glob("vpm_env_hook*")) == []

    other = homes.vllm_base(tmp_path / "other", python=sys.executable)
    rig = Rig.of(other, tmp_path / "h")
    rig.install()
    assert not (other.purelib / "_vpm_env/ray.py").exists()


def test_no_python_pays_for_it_at_its_start(place: Place) -> None:
    told = place.rig.ask(env={"VPM_ENV_PIN": place.rig.pin(place.digest)})

    assert not {"_vpm_env.ray", "_vpm_env.ray_node", "asyncio", "subprocess"} & set(told["modules"])


def test_a_set_that_is_here_is_not_pulled(place: Place) -> None:
    told = place.agent(f"tell(uris=asyncio.run(created({place.digest!r})), env=context.env_vars)")

    assert told["uris"] == [f"vpm_env://{place.digest}"]
    assert told["env"] == {"VPM_ENV_PIN": place.rig.pin(place.digest), "VPM_ENV_PIN_BY": "ray"}
    assert place.calls == []


def test_workers_have_the_set_whatever_is_current_and_behind_the_base(place: Place) -> None:
    env = place.agent(f"asyncio.run(created({place.digest!r})); tell(**context.env_vars)")
    place.rig.generation(8, place.rig.overlay("two"))
    told = place.rig.ask(env=env)

    assert (told["state"], told["digest"], told["pinned"]) == ("active", place.digest, True)
    assert told["lease"] is not None
    assert told["path"].index(str(place.rig.base.purelib)) < told["path"].index(place.rig.site(place.digest))


def test_a_set_that_is_not_here_is_pulled_once_however_many_ask(place: Place) -> None:
    place.take_away()
    code = f"""
async def all():
    field = {{"digest": {place.digest!r}, "cache": "https://cache.example.org"}}
    # Ray asks once for each text: these are two.
    return await asyncio.gather(created(field), created(field, env_vars={{"A": "1"}}))

tell(uris=asyncio.run(all()))
"""
    told = place.agent(code)

    assert told["uris"] == [[f"vpm_env://{place.digest}"]] * 2
    assert place.calls == [["pull", "https://cache.example.org", place.digest, "--no-generation", *place.scope]]


def test_the_nodes_own_caches_are_asked_in_turn(place: Place) -> None:
    place.take_away()
    (place.folder / "mode").write_text("fails")
    told = place.agent(
        f"tell(failed=failure(lambda: asyncio.run(created({place.digest!r}))))",
        env={"VPM_ENV_CACHES": "file:///one file:///two"},
    )

    assert [call[1] for call in place.calls] == ["file:///one", "file:///two"]
    assert told["failed"] == f"FailedError: {SAID}\n{SAID}"


def test_of_many_words_the_error_is_told_else_the_last(place: Place) -> None:
    said = {
        "seq 9 >&2; exit 3": "5\n6\n7\n8\n9",
        "(echo error: one; echo error: two; seq 50) >&2; exit 3": "\n".join(["error: two", *map(str, range(1, 40))]),
        "exit 3": "`sh` ended with 3",
    }
    code = (
        f"tell(failed=[failure(lambda: ray_node.Calls().said(['sh', '-c', way], os.environ)) for way in {[*said]!r}])"
    )

    assert place.agent(code)["failed"] == [f"FailedError: {why}" for why in said.values()]


def test_urls_are_no_words_of_a_command(place: Place) -> None:
    """Everybody on the machine sees those, and what a job names must not be filled in by the node's environment."""
    place.take_away()
    (place.folder / "mode").write_text("fails")
    caches = "https://me:${WORD}@one.example.org https://me:secret@two.example.org"
    code = f"""
failure(lambda: asyncio.run(created({place.digest!r})))
job = ray.Asked(digest={place.digest!r}, cache="https://three.example.org/${{WORD}}")
failure(lambda: ray_node.Calls().first(job, lambda url: ("pull", url)))
tell()
"""
    place.agent(code, env={"VPM_ENV_CACHES": caches, "WORD": "pass"})

    assert [call[1] for call in place.calls] == [
        "https://me:pass@one.example.org",
        "https://me:secret@two.example.org",
        "https://three.example.org/${WORD}",
    ]
    words = (place.folder / "words").read_text()
    assert not [word for word in ("pass", "secret", "example.org") if word in words]


@pytest.mark.parametrize("what", ["package", "override", "manifest"])
def test_a_damaged_set_is_pulled_again(place: Place, what: str) -> None:
    digest = place.rig.overlay("two", "shadow", override=True) if what == "override" else place.digest
    path = Path(place.rig.layout.overlay(place.rig.facts.key, digest))
    if what == "manifest":
        lost = path / "overlay.json"
        shutil.copy(lost, place.folder / "taken")
        lost.write_text("")
    else:
        key = json.loads((path / "overlay.json").read_text())["members"][0]["key"]
        lost = place.rig.home / "store" / key
        lost.rename(place.folder / "taken")
    (place.folder / "aside").write_text(json.dumps([str(place.folder / "taken"), str(lost)]))
    code = f"""
failed = failure(lambda: asyncio.run(created({digest!r})))
os.environ["VPM_ENV_CACHES"] = "file:///c"
for _ in range(2):
    asyncio.run(created({digest!r}))
    node = ray_node.Node()
tell(failed=failed)
"""
    told = place.agent(code)

    assert told["failed"].startswith(f"FailedError: the set in `{path}` is damaged: ")
    assert told["failed"].endswith("\n`vpm_env` names no `cache`, and there is none in VPM_ENV_CACHES")
    assert [call[:3] for call in place.calls] == [["pull", "file:///c", digest]]


def test_a_base_that_changed_is_an_error_of_the_job(place: Place) -> None:
    base = place.rig.base
    known = kit.dist_info(base, "idna", "3.20")
    odd = kit.dist_info(base, "some-thing", "1.0+cu128")
    odd = odd.rename(odd.with_name("Some.Thing-1.0+cu128.dist-info"))
    facts = {"idna": "3.20", "some-thing": "1.0+cu128", "vllm": place.rig.facts.engine_version}
    digest = place.rig.overlay("two", "other", facts=facts)
    code = f"tell(failed=failure(lambda: asyncio.run(created({digest!r}))), leases=len(node._leases))"
    same = place.agent(code)
    shutil.rmtree(known)
    gone = place.agent(code)
    known = kit.dist_info(base, "idna", "1.0")
    changed = place.agent(code)
    aliases = "import _vpm_env.activate as own; own.ENGINE_NAMES = ('engine', 'idna')"
    broken = kit.dist_info(base, "broken", "1.0", metadata="")
    alias = place.agent(f"{aliases}; tell(changes=ray.changes_of(['engine==1.0', 'absent==2.0', 'broken==2.0']))")
    for folder in (known, odd, broken):
        shutil.rmtree(folder)

    assert same == {"failed": "", "leases": 1}
    begin = f"FailedError: workers would not have the set {digest[:12]} here: the base changed: idna 3.20 \u2192"
    assert gone == {"failed": f"{begin} missing", "leases": 0}
    assert changed == {"failed": f"{begin} 1.0", "leases": 0}
    assert alias == {"changes": "absent 2.0 \u2192 missing"}


def test_what_a_set_brings_in_place_of_the_bases_is_no_change_of_the_base(place: Place) -> None:
    digest = place.rig.overlay("two", "shadow", override=True, facts={"shadow": "0.9"})
    told = place.agent(f"tell(uris=asyncio.run(created({digest!r})))")

    assert told["uris"] == [f"vpm_env://{digest}"]


def test_what_prints_at_pythons_start_is_no_answer(place: Place) -> None:
    (place.folder / "sitecustomize.py").write_text(
        "import atexit\nprint('hello', end=' ')\natexit.register(print, 'state\\ndigest')\n"
    )
    told = place.agent(
        f"context.env_vars['PYTHONPATH'] = {str(place.folder)!r}\n"
        f"tell(failed=failure(lambda: asyncio.run(created({place.digest!r}))))"
    )

    assert told["failed"] == ""


def test_a_python_of_several_words_is_tried_as_ray_starts_it(place: Place) -> None:
    told = place.agent(
        "context.py_executable = f'env A=\"1 2\" {sys.executable}'\n"
        f"tell(failed=failure(lambda: asyncio.run(created({place.digest!r}))))"
    )

    assert told["failed"] == ""


def test_a_kind_of_worker_is_tried_once_for_sets_that_are_new_and_always_for_one_that_was_here(place: Place) -> None:
    starts = place.folder / "starts"
    worker = place.folder / "worker"
    worker.write_text(f'#!/bin/sh\necho >> {starts}\nexec {place.rig.base.python} "$@"\n')
    worker.chmod(0o755)
    aside, there = place.folder / "taken", str(place.overlay)
    (place.folder / "aside").write_text(json.dumps([str(aside), there]))
    code = f"""
context.py_executable = {str(worker)!r}
os.environ["VPM_ENV_CACHES"] = "file:///c"
counts = []

def have(is_new):
    if is_new:
        os.rename({there!r}, {str(aside)!r})
    (uri,) = asyncio.run(created({place.digest!r}))
    node.delete_uri(uri, None)
    counts.append(len(open({str(starts)!r}).readlines()))

for is_new in (True, True, False, True):
    have(is_new)
context.env_vars["OTHER"] = "1"
have(True)
have(True)
os.mkdir(os.path.join(os.path.dirname(os.path.dirname(ray_node.__file__)), "other-1.0.dist-info"))
have(True)
have(True)
ray_node.MOST_KINDS = 1
context.env_vars["OTHER"] = "2"
have(True)
context.env_vars["OTHER"] = "1"
have(True)
own = os.path.dirname(ray_node.__file__)
os.rename(own, own + ".away")
tell(counts=counts, failed=failure(lambda: have(True)))
os.rename(own + ".away", own)
"""
    told = place.agent(code)
    (place.rig.base.purelib / "other-1.0.dist-info").rmdir()

    assert told["counts"] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 6]
    assert told["failed"].startswith(f"FailedError: workers would not have the set {place.digest[:12]} here: ")
    assert len(place.calls) == 10


def test_without_any_cache_a_node_says_so(place: Place) -> None:
    place.take_away()
    told = place.agent(f"tell(failed=failure(lambda: asyncio.run(created({place.digest!r}))))")

    assert told["failed"] == "FailedError: `vpm_env` names no `cache`, and there is none in VPM_ENV_CACHES"


def test_gc_waits_until_ray_lets_go_of_the_set(place: Place) -> None:
    code = f"""
for others in ({{}}, {{"env_vars": {{"A": "1"}}}}):
    asyncio.run(created({place.digest!r}, **others))
tell()
sys.stdout.flush()
input()
node.delete_uri("vpm_env://" + {place.digest!r}, None)
node.delete_uri("vpm_env://" + {place.digest!r}, None)
tell()
sys.stdout.flush()
input()
"""
    import subprocess

    with subprocess.Popen(
        [place.rig.base.python, "-c", AGENT + code],
        env={**os.environ, **place.rig.base.env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=place.folder,
    ) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        agent.stdout.readline()
        held = flocks.try_exclusive(place.overlay / ".lease")
        agent.stdin.write(b"\n")
        agent.stdin.flush()
        agent.stdout.readline()
        free = flocks.try_exclusive(place.overlay / ".lease")
        agent.communicate(b"\n")

    assert held is None
    assert free is not None
    with free:
        pass


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
def test_what_hangs_is_ended_with_all_that_it_started(place: Place, how: str) -> None:
    place.take_away()
    (place.folder / "mode").write_text("hangs")
    code = f"""
async def hanging():
    work = asyncio.create_task(created({{"digest": {place.digest!r}, "cache": "file:///a"}}))
    while not os.path.exists({str(place.folder / "child")!r}):
        await asyncio.sleep(0.01)
    if {how!r} == "cancelled":
        work.cancel()
    await work

ray_node.TIMEOUT = 2.0 if {how!r} == "timeout" else 600.0
try:
    asyncio.run(hanging())
except (asyncio.CancelledError, ray_node.FailedError) as error:
    tell(failed=str(error), kind=type(error).__name__)
"""
    told = place.agent(code)

    assert told["kind"] == ("FailedError" if how == "timeout" else "CancelledError")
    assert how == "cancelled" or told["failed"] == f"`{place.folder / 'vpm-env'}` takes longer than 2 s"
    assert is_ended(int((place.folder / "child").read_text()))


def test_a_set_that_is_here_waits_for_nobody_elses(place: Place) -> None:
    (place.folder / "mode").write_text("hangs")
    code = f"""
from concurrent.futures import ThreadPoolExecutor

async def both():
    # As many threads as an agent has are busy with what a silent cache does not give.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    hanging = asyncio.create_task(created({{"digest": {DIGEST!r}, "cache": "file:///a"}}))
    while not os.path.exists({str(place.folder / "child")!r}):
        await asyncio.sleep(0.01)
    try:
        return await asyncio.wait_for(created({place.digest!r}), 20)
    finally:
        hanging.cancel()
        await asyncio.wait([hanging])

tell(uris=asyncio.run(both()))
"""
    told = place.agent(code)

    assert told["uris"] == [f"vpm_env://{place.digest}"]
    assert is_ended(int((place.folder / "child").read_text()))


def is_ended(pid: int) -> bool:
    """Tell whether a process is gone, or only not yet fetched by whoever is its parent now."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_what_failed_may_go_well_the_next_time(place: Place) -> None:
    place.take_away()
    (place.folder / "mode").write_text("fails")
    code = f"""
field = {{"digest": {place.digest!r}, "cache": "file:///a"}}
failed = failure(lambda: asyncio.run(created(field)))
open({str(place.folder / "mode")!r}, "w").write("works")
tell(failed=failed, uris=asyncio.run(created(field)))
"""
    told = place.agent(code)

    assert told["failed"] == f"FailedError: {SAID}"
    assert told["uris"] == [f"vpm_env://{place.digest}"]


def test_a_command_that_is_gone_is_told(place: Place) -> None:
    place.take_away()
    (place.folder / "vpm-env").unlink()
    field = {"digest": place.digest, "cache": "file:///a"}
    told = place.agent(f"tell(failed=failure(lambda: asyncio.run(created({field!r}))))")

    assert told["failed"] == f"FailedError: `{place.folder / 'vpm-env'}` cannot be started: No such file or directory"


def test_a_node_with_another_base_than_its_hook_is_told(place: Place) -> None:
    place.take_away()
    path = place.folder / "vpm-env"
    path.write_text(path.read_text().replace(place.rig.facts.key, "0123456789ab"))
    field = {"digest": place.digest, "cache": "file:///a"}
    told = place.agent(f"tell(failed=failure(lambda: asyncio.run(created({field!r}))))")

    assert "hook install" in told["failed"]
    assert "0123456789ab" in told["failed"]


def test_a_set_that_workers_would_not_get_is_refused_before_they_start(place: Place) -> None:
    (place.rig.home / "overlays").chmod(0o777)
    code = f"tell(failed=failure(lambda: asyncio.run(created({place.digest!r}))), leases=node._leases)"
    told = place.agent(code)
    (place.rig.home / "overlays").chmod(0o755)

    assert told["failed"].startswith(f"FailedError: workers would not have the set {place.digest[:12]} here: ")
    assert "may be written by others" in told["failed"]
    assert told["leases"] == {}
    assert "VPM_ENV_DISABLE is set" in place.agent(f"context.env_vars['VPM_ENV_DISABLE'] = '1'\n{code}")["failed"]


REFUSED = {
    "an empty object": ({}, "names no set"),
    "a number": (7, "is a channel, a digest, or an object"),
    "nothing": (None, "is a channel, a digest, or an object"),
    "an unknown name": ({"digets": DIGEST}, "is a channel, a digest, or an object"),
    "a short digest": ({"digest": DIGEST[:12]}, "64 hex digits"),
    "a number for a digest": ({"digest": 7}, "what its object has are texts"),
    "an option for a channel": ("--force", "is no name of a channel"),
    "a capital in a channel": ("Prod", "is no name of a channel"),
    "a path for a channel": ("../prod", "is no name of a channel"),
    "an option for a cache": ({"digest": DIGEST, "cache": "--unsigned"}, "is no URL"),
    "a password": ({"digest": DIGEST, "cache": "https://me:secret@example.org/"}, "has credentials"),
    "an option with a password": ({"digest": DIGEST, "cache": "-http://me:secret@example.org"}, "has credentials"),
    "a password with a slash": ({"digest": DIGEST, "cache": "http://me:12/secret@example.org"}, "has credentials"),
    "a variable of the node": ({"digest": DIGEST, "cache": "http://example.org/${SECRET}"}, "names a variable"),
    "a channel on a node": (
        "prod",
        '`prod`: `_vpm_env.ray.runtime_env("prod")` in the driver does that, or name a digest',
    ),
    "a channel behind ray://": ("prod", "RAY_RUNTIME_ENV_HOOK=_vpm_env.ray.resolve` does it for `ray.init` alone"),
}


def test_what_names_no_set_is_refused_and_does_no_harm_to_others(place: Place) -> None:
    """Ray asks for the URIs of every runtime environment: one that raised would break all of them."""
    told = place.agent(
        f"envs = [{{'vpm_env': field}} for field in {[field for field, _ in REFUSED.values()]!r}]\n"
        "tell(failed=[failure(lambda: node.validate(env)) for env in envs], uris=[*map(node.get_uris, envs)])"
    )

    for failed, (_, said) in zip(told["failed"], REFUSED.values(), strict=True):
        assert failed.startswith("ValueError: `vpm_env`")
        assert said in failed
        assert "secret" not in failed
    assert told["uris"] == [[]] * len(REFUSED)


def test_fields_that_change_the_python_of_workers_are_refused(place: Place) -> None:
    told = place.agent(f"tell(failed=failure(lambda: node.validate({{'vpm_env': {DIGEST!r}, 'pip': ['rich']}})))")

    assert told["failed"] == "ValueError: `vpm_env` does not go with `pip`, whose workers run another Python"


@pytest.mark.parametrize("name", ["VPM_ENV_DISABLE", "VPM_ENV_WITHOUT"])
def test_a_job_that_would_take_from_its_set_is_refused(place: Place, name: str) -> None:
    code = f"""
env = {{"vpm_env": {DIGEST!r}, "env_vars": {{{name!r}: "plug"}}}}
tell(
    failed=[failure(lambda: node.validate(env)), failure(lambda: ray.resolve(env))],
    plain=[failure(lambda: node.validate({{**env, "env_vars": vars}})) for vars in ({{{name!r}: "0"}}, {{}}, None)],
)
"""
    told = place.agent(code)

    said = f"ValueError: `vpm_env` does not go with `{name}` in `env_vars`: all workers have the whole set"
    assert told == {"failed": [said] * 2, "plain": [""] * 3}


def test_the_driver_puts_a_digest_in_the_place_of_a_channel(place: Place) -> None:
    (place.folder / "channel").write_text(DIGEST)
    code = f"""
tell(
    named=ray.resolve({{"vpm_env": "prod", "env_vars": {{"A": "1"}}}}),
    whole=ray.runtime_env("prod", cache="file:///c", env_vars={{}}),
    known=[ray.resolve({{"vpm_env": {DIGEST!r}}}) for _ in range(2)],
    none=[ray.resolve(None), ray.resolve({{}}), ray.resolve({{"pip": ["rich"]}})],
)
"""
    told = place.agent(code, env={"VPM_ENV_CACHES": "file:///n"})

    named = {"digest": DIGEST, "channel": "prod", "job": told["named"]["vpm_env"]["job"]}
    assert told["named"] == {"vpm_env": named, "env_vars": {"A": "1"}}
    assert told["whole"] == {"vpm_env": {"digest": DIGEST, "channel": "prod", "cache": "file:///c"}, "env_vars": {}}
    assert [known["vpm_env"]["digest"] for known in told["known"]] == [DIGEST] * 2
    # By what a job says, an agent would remember for it what failed in another one.
    assert len({known["vpm_env"]["job"] for known in told["known"]}) == 2
    assert told["none"] == [None, {}, {"pip": ["rich"]}]
    assert place.calls == [["cache", "channel", url, "prod", *place.scope] for url in ("file:///n", "file:///c")]


def test_a_driver_may_give_its_own_set(place: Place) -> None:
    code = f"tell(env=ray.runtime_env(), told=ray.told(), shared=[*map(ray.share, [None, {{'vpm_env': {DIGEST!r}}}])])"
    told = place.agent(code)
    code = "tell(failed=failure(ray.runtime_env), shared=[*map(ray.share, [None, {'pip': ['rich']}])])"
    bare = place.agent(code, env={"VPM_ENV_DISABLE": "1"})
    wrong = place.agent("tell(failed=[failure(lambda: ray.runtime_env(what)) for what in (5, ['prod'], 'Prod')])")

    assert told["env"] == {"vpm_env": {"digest": place.digest}}
    assert [shared["vpm_env"]["digest"] for shared in told["shared"]] == [place.digest, DIGEST]
    assert bare["shared"] == [None, {"pip": ["rich"]}]
    assert told["told"]["worker"].startswith(f"node {os.uname().nodename}, pid ")
    assert bare["failed"] == (
        "RuntimeError: this process has no plugin set to give to its workers: VPM_ENV_DISABLE is set"
    )
    assert {failed.partition(": ")[0] for failed in wrong["failed"]} == {"ValueError"}


def test_workers_that_differ_are_named() -> None:
    answers = [
        {"worker": "node 10.0.0.1 (a), pid 1", "digest": DIGEST, "reason": ""},
        {"worker": "node 10.0.0.2 (b), pid 2", "digest": "f" * 64, "reason": "/h/overlays"},
        {"worker": "node 10.0.0.3", "digest": "", "reason": "it does not answer"},
    ]

    assert str(_ray.DiffersError(DIGEST, answers)) == (
        "2 of 3 workers have not the set 0123456789ab:\n"
        "  node 10.0.0.2 (b), pid 2: ffffffffffff\n"
        "  node 10.0.0.3: it does not answer"
    )


def test_a_node_without_the_plugin_is_told_what_it_may_lack(place: Place) -> None:
    code = "answer = ray.told(); tell(said=str(ray.DiffersError('f' * 64, [answer])).splitlines()[1], **answer)"
    bare = place.agent(code, env={"VPM_ENV_PROFILE": "other"})
    pinned = place.agent(code, env={"VPM_ENV_PIN": place.rig.pin(place.digest), "VPM_ENV_PIN_BY": "ray"})

    hint = "(nobody pinned it: does the job name a set, and is the plugin in RAY_RUNTIME_ENV_PLUGINS of that node?)"
    assert bare["said"] == f"  {bare['worker']}: {bare['reason']} {hint}"
    assert bare["reason"].startswith("profile other has no current generation")
    assert pinned["said"] == f"  {pinned['worker']}: {place.digest[:12]}"


UNFIT = [{"digest": DIGEST, "cache": cache} for cache in ("-x", "http://me@example.org", "http://x/${A}")]


def test_the_schema_says_the_same(place: Place) -> None:
    path = place.agent("tell(path=ray.schema())")["path"]
    schema = json.loads(Path(path).read_text())

    assert schema["title"] == "vpm_env"
    for field in ("prod", DIGEST, {"digest": DIGEST, "cache": "s3://sets"}, {"channel": "prod"}):
        jsonschema.validate(field, schema)
    for field in (
        {},
        7,
        {"digest": DIGEST[:12]},
        {"cache": "s3://sets"},
        {"channel": "-x"},
        {"digets": DIGEST},
        *UNFIT,
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(field, schema)


def test_the_guard_fails_a_worker_that_has_not_the_set_of_its_job(place: Place) -> None:
    """Without VPM_ENV_STRICT: the job named the set."""
    code = "import _vpm_env.guard as guard\ntry: guard.register()\nexcept RuntimeError as error: print(error)"
    digest, key = place.digest, place.rig.facts.key
    pins = {
        "its own": {"VPM_ENV_PIN": f"{key}:{digest}"},
        "none": {"VPM_ENV_PIN": f"{key}:{DIGEST}"},
    }
    said = {name: place.python(code, env={**env, "VPM_ENV_PIN_BY": "ray"}).stdout for name, env in pins.items()}

    assert said["its own"] == ""
    assert "no plugin overlay is active (pin-missing)" in said["none"]
    assert said["none"].endswith("(the job names a set for its workers)\n")
    assert place.python(code, env=pins["none"]).stdout == ""


@pytest.mark.parametrize("key", ["", "0123456789ab"])
@pytest.mark.parametrize("executor", ["overwrites", "fills in"])
def test_the_guard_compares_with_a_driver_wherever_its_base_lies(place: Place, key: str, executor: str) -> None:
    """Ray gives a worker the driver's environment after its start, when the hook has done its work.

    One executor of vLLM overwrites what the worker has, the other fills in what it lacks, and it has a pin.
    """
    code = f"""
import os, sys, types
driver = {{"VPM_ENV_PIN": {(key or place.rig.facts.key) + ":" + DIGEST!r}, "VPM_ENV_DRIVER": {DIGEST!r}}}
os.environ.update(driver if {executor!r} == "overwrites" else {{**driver, **os.environ}})
sys.modules["ray"] = types.ModuleType("ray")
sys.modules["ray.util"] = types.SimpleNamespace(get_node_ip_address=lambda: "10.0.0.7")
import _vpm_env.guard as guard
try:
    guard.register()
except RuntimeError as error:
    print(error)
"""
    # What an older driver left in the environment that Ray was started in is not the driver of this worker.
    env = {"VPM_ENV_PIN": place.rig.pin(place.digest), "VPM_ENV_PIN_BY": "ray", "VPM_ENV_DRIVER": "e" * 64}

    assert place.python(code, env=env).stdout == (
        f"vpm-env: this process has generation 7 ({place.digest[:12]}), and the process that it works for has "
        f"{DIGEST[:12]}, on node 10.0.0.7 (the job names a set for its workers)\n"
    )


@pytest.mark.parametrize(("actor", "asked"), [("a1", {"vpm_env": DIGEST}), ("a1", {}), (None, {"vpm_env": DIGEST})])
def test_the_guard_fails_an_actor_that_no_plugin_pinned(place: Place, actor: str | None, asked: dict[str, str]) -> None:
    """A node whose Ray lacks the plugin gives its own set to all, with a warning in its log only."""
    code = f"""
import os, sys, types
os.environ["VPM_ENV_PIN"] = {place.rig.pin(DIGEST)!r}  # the driver's: there was none
context = types.SimpleNamespace(get_actor_id=lambda: {actor!r}, runtime_env={asked!r})
ray = types.SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context)
sys.modules |= {{"ray": ray, "ray.util": types.SimpleNamespace(get_node_ip_address=lambda: "10.0.0.7")}}
import _vpm_env.guard as guard
try:
    guard.register()
except RuntimeError as error:
    print(error)
"""
    said = place.python(code).stdout

    assert said.endswith("(the job names a set for its workers)\n") == bool(actor and asked)


def test_an_uninstall_takes_it_away_where_its_record_is_lost(place: Place) -> None:
    purelib = place.rig.base.purelib
    (path,) = purelib.glob("vpm_env_hook-*.dist-info/RECORD")
    path.unlink()
    startup.install(place.rig.facts, layout=place.rig.layout, profile="default", command=("/opt/vpm-env",))
    startup.uninstall(place.rig.facts)

    assert not (purelib / "_vpm_env").exists()
    assert list(purelib.glob("vpm_env_hook*")) == []
