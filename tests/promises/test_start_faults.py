"""R13: whatever is wrong, the base's python starts, says nothing, ends well and imports what is its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import homes
import kit
import pytest
from homes import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from conftest import Figures, Scale

STRANGER = 12345
CODE = """
import json, sys
own = {"__main__", "__mp_main__"}
names = {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - own
told = {"strange": sorted(name for name in names if not name.startswith("_vpm_env"))}
try:
    import json, ssl, vllm
    told["imports"] = vllm.__name__
except ImportError as error:
    told["imports"] = repr(error)
with open(sys.argv[1], "w") as stream:
    json.dump(told, stream)
"""
CLOSED = ("/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-')
NOWHERE = ("/bin/sh", "-c", 'cd "$(mktemp -d)" && rmdir "$PWD" && exec "$0" "$@"')


@dataclass(frozen=True)
class Fault:
    """One fault at start-up: what is done to home and base, and how Python is started.

    `says` is how the one line begins that it may say; `complains` says that Python itself may, of a `.pth` whose
    module is gone. `env` are variables, None takes one away; `around` are words before the interpreter.
    """

    name: str
    harm: Callable[[Rig], object] = lambda rig: None
    env: Mapping[str, str | bytes | None] = field(default_factory=dict)
    flags: Sequence[str] = ()
    around: Sequence[str] = ()
    says: str = ""
    complains: bool = False
    stranger: bool = False
    imports: bool = True


def _current(rig: Rig) -> Path:
    return rig.profile / "current"


def _relinked(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _file(path: Path, content: bytes = b"") -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _overlay(rig: Rig) -> Path:
    (found,) = rig.home.glob("overlays/*/*")
    return found


def _wrong_abi(rig: Rig) -> None:
    (library,) = _overlay(rig).glob("lib/python*")
    library.rename(library.with_name("python2.7"))


def _other_base(rig: Rig) -> None:
    (folder,) = rig.home.glob("overlays/*")
    folder.rename(folder.with_name("0" * 12))
    _relinked(rig.profile / "generations" / "1", f"../../../../overlays/{'0' * 12}/{'f' * 64}")


def _hook(rig: Rig) -> Path:
    return rig.base.purelib / "_vpm_env_hook.py"


def _without_bytecode(rig: Rig, path: Path, content: bytes | None) -> None:
    """Take a module away, or give it another text, with what it was compiled to."""
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


def _torn_bytecode(rig: Rig) -> None:
    for path in rig.base.purelib.glob("__pycache__/_vpm_env_hook.*"):
        path.write_bytes(path.read_bytes()[:40])


def faults(rig: Rig) -> Iterator[Fault]:  # noqa: PLR0915 (a table)
    """Yield the table."""
    yield Fault("nothing")
    yield Fault("current: missing", lambda rig: _current(rig).unlink())
    yield Fault("current: dangling", lambda rig: _relinked(_current(rig), "generations/99"))
    yield Fault("current: a file", lambda rig: _file(_current(rig), b"generations/1"))
    yield Fault("current: a folder", lambda rig: _folder(_current(rig)))
    yield Fault("current: outside the home", lambda rig: _relinked(_current(rig), "/etc"))
    yield Fault("current: leads up", lambda rig: _relinked(_current(rig), "generations/../../.."))
    yield Fault("current: a loop", lambda rig: _relinked(_current(rig), "current"))
    yield Fault("current: a FIFO", lambda rig: _fifo(_current(rig)))
    yield Fault("pointer: missing", lambda rig: (rig.profile / "generations/1").unlink())
    yield Fault("pointer: outside the home", lambda rig: _relinked(rig.profile / "generations/1", "/tmp/" + "f" * 64))
    yield Fault("overlay: gone", lambda rig: shutil.rmtree(_overlay(rig)))
    yield Fault("overlay: of another base", _other_base)
    yield Fault("overlay: for another Python", _wrong_abi)
    yield Fault("overlay.json: missing", lambda rig: (_overlay(rig) / "overlay.json").unlink())
    yield Fault("overlay.json: empty", lambda rig: _file(_overlay(rig) / "overlay.json"))
    yield Fault("overlay.json: torn", lambda rig: _file(_overlay(rig) / "overlay.json", b'{"format": 1, "dig'))
    yield Fault("store: gone", lambda rig: shutil.rmtree(rig.home / "store"))
    yield Fault("home: gone", lambda rig: shutil.rmtree(rig.home))
    yield Fault("home: a file", lambda rig: (shutil.rmtree(rig.home), rig.home.write_text("")))
    yield Fault("home: a loop", lambda rig: (shutil.rmtree(rig.home), rig.home.symlink_to(rig.home)))
    yield Fault("format: newer", lambda rig: _file(rig.home / "format", b"99\n"))
    yield Fault("format: garbage", lambda rig: _file(rig.home / "format", b"\xff\0\n"))
    yield Fault("format: empty", lambda rig: _file(rig.home / "format"))
    yield Fault("format: a FIFO", lambda rig: _fifo(rig.home / "format"))
    yield Fault("format: a folder", lambda rig: _folder(rig.home / "format"))
    yield Fault("overlays: world-writable", lambda rig: (rig.home / "overlays").chmod(0o777))
    yield Fault("lease: missing", lambda rig: (_overlay(rig) / ".lease").unlink())
    yield Fault("hook: folder of the rest missing", lambda rig: shutil.rmtree(rig.base.purelib / "_vpm_env"))
    yield Fault("hook: .pth of a lost module", lambda rig: _without_bytecode(rig, _hook(rig), None), complains=True)
    yield Fault("hook: empty module", lambda rig: _without_bytecode(rig, _hook(rig), b""))
    yield Fault("hook: only .pth and folder", lambda rig: _without_bytecode(rig, _hook(rig), None), complains=True)
    activate = Path("_vpm_env/activate.py")
    pinned = {"VPM_ENV_PIN": f"{rig.facts.key}:{'f' * 64}"}
    for name, content in (("missing", None), ("empty", b"")):
        harm = _harm(activate, content)
        yield Fault(f"hook: rest {name}", harm, env=pinned)
    yield Fault("hook: torn bytecode", _torn_bytecode, complains=True)
    yield Fault("hook: .pth empty", lambda rig: _file(rig.base.purelib / "_vpm_env_hook.pth"))
    yield Fault("hook: .pth gone", lambda rig: (rig.base.purelib / "_vpm_env_hook.pth").unlink())
    yield Fault("pin: missing overlay", env=pinned)
    yield Fault("pin: malformed", env={"VPM_ENV_PIN": ":::"})
    yield Fault("pin: very long", env={"VPM_ENV_PIN": f"{rig.facts.key}:{'f' * 100_000}"})
    yield Fault("pin: of another base", env={"VPM_ENV_PIN": f"{'0' * 12}:{'f' * 64}"})
    yield Fault("pin: no text", env={"VPM_ENV_PIN": b"\xff\xfe:\x80"})
    yield Fault("pin: a path", env={"VPM_ENV_PIN": f"{rig.facts.key}:../../../../etc"})
    yield Fault("profile: a path", env={"VPM_ENV_PROFILE": "../../etc"})
    yield Fault("profile: no text", env={"VPM_ENV_PROFILE": b"\xff\xfe"})
    yield Fault("without: what is not there", env={"VPM_ENV_WITHOUT": "nobody,\n"})
    yield Fault("home variable: no text", env={"VPM_ENV_HOME": b"/\xff\xfe\x01\n"})
    yield Fault("debug: one line", env={"VPM_ENV_DEBUG": "1"}, says="vpm-env: hook: active: ")
    yield Fault("strict, and nothing to have", lambda rig: _current(rig).unlink(), env={"VPM_ENV_STRICT": "1"})
    yield Fault("no HOME", env={"HOME": None})
    yield Fault("no variables but PATH", env=dict.fromkeys(set(os.environ) - {"PATH"}))
    yield Fault("PYTHONSAFEPATH", env={"PYTHONSAFEPATH": "1"})
    yield Fault("descriptors 0 to 2 closed", around=CLOSED)
    yield Fault("closed, and a pin that is missing", env=pinned, around=CLOSED)
    yield Fault("closed, and debug", env={"VPM_ENV_DEBUG": "1"}, around=CLOSED)
    yield Fault("working directory deleted", around=NOWHERE)
    for flag in ("-I", "-E", "-s", "-O", "-OO", "-B"):
        yield Fault(flag, flags=[flag])
    yield Fault("-S", flags=["-S"], imports=False)
    yield Fault("-X importtime, a missing set", lambda rig: shutil.rmtree(_overlay(rig)), flags=["-X", "utf8=0"])
    if os.geteuid() == 0:
        yield Fault("home: a stranger's", lambda rig: homes.give(rig.home, uid=STRANGER, gid=STRANGER))
        yield Fault("home: unreadable", lambda rig: rig.home.chmod(0o700), stranger=True)
        yield Fault("store: unreadable", lambda rig: (rig.home / "store").chmod(0o700), stranger=True)
        yield Fault("profiles: unreadable", lambda rig: (rig.home / "profiles").chmod(0o700), stranger=True)
        yield Fault("hook: unreadable module", lambda rig: _hook(rig).chmod(0o600), stranger=True, complains=True)


def _harm(module: Path, content: bytes | None) -> Callable[[Rig], object]:
    return lambda rig: _without_bytecode(rig, rig.base.purelib / module, content)


class Trials:
    """Starts a base whose home and hook are as they were each time."""

    def __init__(self, folder: Path, python: Path) -> None:
        base = homes.vllm_base(folder, python=python)
        self.rig = Rig.of(base, folder / "home")
        self.rig.generation(1, self.rig.overlay("one", "plug"))
        self.rig.install()
        self._kept = [(path, folder / f"{path.name}.kept") for path in (self.rig.home, base.purelib)]
        for path, kept in self._kept:
            shutil.copytree(path, kept, symlinks=True)
        self._folder = folder
        folder.chmod(0o755)

    def renew(self) -> None:
        for path, kept in self._kept:
            path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(kept, path, symlinks=True)

    def violations(self, fault: Fault) -> Iterator[str]:
        fault.harm(self.rig)
        answer = self._folder / "answers" / "told.json"
        shutil.rmtree(answer.parent, ignore_errors=True)
        answer.parent.mkdir()
        answer.parent.chmod(0o777)
        user: dict[str, Any] = {"user": STRANGER, "group": STRANGER, "extra_groups": []} if fault.stranger else {}
        done = subprocess.run(
            [*fault.around, self.rig.base.python, *fault.flags, "-c", CODE, answer],
            env=_variables(fault.env),
            cwd=self._folder,
            capture_output=True,
            timeout=60,
            check=False,
            **user,
        )
        said = done.stderr.decode(errors="replace")
        if done.returncode or not answer.exists():
            yield f"{fault.name}: ended with {done.returncode}: {said}"
            return
        told = json.loads(answer.read_text())
        if fault.imports and told["imports"] != "vllm":
            yield f"{fault.name}: does not import its own: {told['imports']}"
        if told["strange"]:
            yield f"{fault.name}: imported {told['strange']}"
        if not fault.complains and (not said.startswith(fault.says) or said.count("\n") != bool(fault.says)):
            yield f"{fault.name}: said {said!r}"


def _variables(given: Mapping[str, str | bytes | None]) -> dict[bytes, bytes]:
    merged = {**os.environ, **given}
    return {name.encode(): os.fsencode(value) for name, value in merged.items() if value is not None}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Lend a folder that other users can look into."""
    made = Path(tempfile.mkdtemp(prefix="vpm-env-faults-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def _starts_itself(python: Path, fault: Fault) -> bool:
    """Tell whether an interpreter starts in these surroundings by itself: 3.13.0 does not where its folder is gone."""
    done = subprocess.run([*fault.around, python, "-c", "import json, ssl"], capture_output=True, check=False)
    return done.returncode == 0


def _is_everybodys(python: Path) -> bool:
    """Tell whether another user can start an interpreter at all."""
    if os.geteuid() != 0:
        return False
    try:
        done = subprocess.run([python, "-I", "-c", ""], user=STRANGER, group=STRANGER, extra_groups=[], check=False)
    except PermissionError:
        return False
    return done.returncode == 0


def test_the_base_starts_whatever_is_wrong(folder: Path, figure: Figures, scale: Scale) -> None:
    count, left, own, violations = 0, 0, 0, []
    found = list(kit.pythons().items())
    main = next(iter(kit.pythons().items())) if "3.11" not in kit.pythons() else ("3.11", kit.pythons()["3.11"])
    for version, python in found:
        trials = Trials(folder / version, python)
        every = list(faults(trials.rig))
        chosen = every if version == main[0] else every[:: scale(12, 1)]
        is_everybodys = _is_everybodys(trials.rig.base.python)
        for fault in chosen:
            if fault.stranger and not is_everybodys:
                left += 1
                continue
            if fault.around and not _starts_itself(python, fault):
                own += 1
                continue
            count += 1
            violations += [f"{version}: {told}" for told in trials.violations(fault)]
            trials.renew()
    note = f"on CPython {', '.join(version for version, _ in found)}"
    note += f"; {left} left out: another user cannot start this Python" if left else ""
    note += f"; {own} left out: this Python does not start so without a hook either" if own else ""
    figure(
        "R13", "faults under which the base's python starts", count=count, wanted=20, violations=violations, note=note
    )
