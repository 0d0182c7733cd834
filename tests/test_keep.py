"""Keeping house: `keep`, what gc takes and what that frees, limits, the trash, and locks that somebody else holds."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jsonschema
import kit
import pytest
import stands
from test_cli import on_terminal, piped

from envbuilder import cli, flocks, gc, going, keeping, profile_damage, profile_repair, registry, sweep, trash
from envbuilder import profile as profiles
from envbuilder.amounts import Amount, amount, size
from envbuilder.config import of_content
from envbuilder.digest import read_sealed, sealed, sha256_of
from envbuilder.errors import Busy, ProfileError
from envbuilder.fs import Disk
from envbuilder.gc import Policy
from envbuilder.ledger import Ledger, occupied
from envbuilder.mending import Mending
from envbuilder.package import FORMAT
from envbuilder.paths import Layout, environment
from envbuilder.report import Reporter
from envbuilder.scope import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "vllm.general_plugins"
SETS = (("one",), ("one", "two"), ("two",), ("three",))


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build four generations once, and let all that have been two days ago: gc may take 1 and 2."""
    folder = tmp_path_factory.mktemp("keep")
    vpm_env = stands.small(folder)
    for name in ("one", "two", "three", "four"):
        files = {f"{name}/__init__.py": "def register(): ...\n", f"{name}/data.bin": name[0] * 20_000}
        kit.wheel(folder / "links", name, "1.0", files=files, entry_points={GROUP: {name: f"{name}:register"}})
    for names in SETS:
        write_config(vpm_env, *names)
        vpm_env("build", "--offline", check=True)
    age(vpm_env.home)
    return vpm_env


def write_config(vpm_env: kit.VpmEnv, *names: str, extra: str = "") -> None:
    links = vpm_env.folder.parent / "links"
    entries = "".join(f"  - {{name: {name}, source: pypi, version: '1.0'}}\n" for name in names)
    vpm_env.config(f"find_links: {links}\nindex: http://127.0.0.1:9/none\n{extra}plugins:\n{entries}")


def age(home: Path) -> None:
    """Let everything that was current have been so two days ago, at minutes that no clock changes."""
    (order,) = home.glob("profiles/*/*/order.json")
    record = json.loads(order.read_text())
    start = time.time() - 2 * 86400
    record["switches"] = [[number, start + 60 * at, verb] for at, (number, _, verb) in enumerate(record["switches"])]
    order.write_text(json.dumps(sealed(record)))


@pytest.fixture
def copy(stand: kit.VpmEnv, tmp_path: Path) -> kit.VpmEnv:
    """Give a copy of the home, links as they are, that a test may do anything to."""
    home = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(stand.home), str(home)], check=True)
    (home / "trash").mkdir(exist_ok=True)
    return kit.VpmEnv(home=home, folder=stand.folder, env={**stand.env, "VPM_ENV_HOME": str(home)})


def blocks(home: Path) -> int:
    """Count what everything that gc may touch occupies, as `du` does: each file once."""
    found = {}
    for part in ("store", "overlays", "sources", "profiles", "tmp", "trash"):
        for path in [home / part, *(home / part).rglob("*")]:
            status = path.lstat()
            found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def numbers(record: Any) -> list[int]:
    """Return the numbers of the generations that gc takes."""
    assert all(entry["profile"] == "default" for entry in record["generations"])
    return [entry["number"] for entry in record["generations"]]


def fits_schema(verb: str, record: Any) -> Any:
    jsonschema.validate(record, json.loads((kit.ROOT / "docs" / "schemas" / f"{verb}.json").read_text()))
    return record


def without_sizes(text: str) -> str:
    """Take out sizes, which file systems differ in, and the moment a set was current last."""
    text = re.sub(r"\d+(\.\d+)? (B|KiB|MiB)\b", "SIZE", text)
    return re.sub(r" *SIZE", " SIZE", re.sub(r"current \d\S+ \S+", "current TIME", text))


def test_keep_says_what_it_marks_and_gc_spares_it(copy: kit.VpmEnv) -> None:
    first = piped(copy, "keep", "1", "4")
    again = piped(copy, "keep", "1")
    planned = copy("gc", "--dry-run", "--json", check=True).json
    assert "kept" in copy("history", check=True).stdout.splitlines()[1]
    gone = piped(copy, "unkeep", "1")
    not_kept = piped(copy, "unkeep", "2")

    assert first == ("", "generation 1 (KEY) is kept: gc spares it\ngeneration 4 (KEY) is kept: gc spares it\n")
    assert again == ("", "generation 1 (KEY) was kept already\n")
    assert numbers(planned) == [2]
    assert gone == ("", "generation 1 (KEY) is kept no longer\n")
    assert not_kept == ("", "generation 2 (KEY) was not kept\n")
    assert numbers(copy("gc", "--dry-run", "--json", check=True).json) == [1, 2]


def test_keep_in_json_and_by_digest(copy: kit.VpmEnv) -> None:
    digest = copy("history", "--json", check=True).json["generations"][1]["digest"]

    record = fits_schema("keep", copy("keep", digest[:8], "--json", check=True).json)
    back = fits_schema("unkeep", copy("unkeep", "2", "--json", check=True).json)

    assert record["generations"] == [
        {"generation": 2, "digest": digest, "keep": True, "changed": True, "on_disk": True}
    ]
    assert (back["generations"][0]["keep"], back["generations"][0]["changed"]) == (False, True)


def test_keep_names_all_that_are_not_there_and_marks_none(copy: kit.VpmEnv) -> None:
    done = copy("keep", "1", "77777", "ffffffff")

    assert done.exit == 2
    assert "has no generation 77777" in done.stderr
    assert "begins with `ffffffff`" in done.stderr
    assert not any(entry["keep"] for entry in copy("history", "--json").json["generations"])


def test_a_collected_generation_can_be_kept_and_the_way_back_is_named(copy: kit.VpmEnv) -> None:
    copy("gc", check=True)

    out, err = piped(copy, "keep", "1")

    assert out == ""
    assert err == (
        "generation 1 (KEY) is kept: gc spares it\n"
        "\nhint: it was collected before: `vpm-env switch 1` rebuilds it from its lock\n"
    )


GC_TABLE = """\
            name                     frees  why
generation  default 1 (KEY) SIZE  last current TIME
overlay     KEY SIZE  only generation 1 had it
generation  default 2 (KEY) SIZE  last current TIME
overlay     KEY SIZE  only generation 2 had it
package     one-1.0 SIZE  no set has it any more
"""


def test_gc_shows_what_goes_and_why(copy: kit.VpmEnv) -> None:
    out, err = piped(copy, "gc", "--dry-run")

    head, *rest = without_sizes(out).splitlines(keepends=True)
    assert head.split() == ["name", "frees", "why"]
    assert "".join(rest) == "".join(GC_TABLE.splitlines(keepends=True)[1:])
    assert without_sizes(err) == "would free SIZE: 2 overlays, 1 package\n"


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        (["current"], "`current` is missing"),
        (["order.json"], "`order.json` is missing"),
        (["current", "order.json"], "`current` is missing"),
        (["generations/4"], "`current` names generation 4, whose overlay is gone"),
        (["generations/4.json"], "the record of generation 4 is missing"),
        (["generations/3.json"], "the record of generation 3 is missing"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_gc_takes_nothing_where_what_says_which_sets_are_needed_is_lost(
    copy: kit.VpmEnv, lost: list[str], told: str
) -> None:
    for name in lost:
        in_profile(copy, name).unlink()
    before = things(copy)

    with pytest.raises(ProfileError) as refused:
        sweep.collect(Layout(str(copy.home)), Policy(), dry_run=False, wait=0)

    assert refused.value.message.endswith(f"is damaged, and with it what says which sets are needed: {told}")
    assert refused.value.hint == "`vpm-env verify --repair` mends what can be mended; nothing was collected"
    assert things(copy) == before


def in_profile(stand: kit.VpmEnv, name: str) -> Path:
    (profile,) = stand.home.glob("profiles/default/*")
    return profile / name


def things(stand: kit.VpmEnv) -> list[Path]:
    return sorted(stand.home.glob("overlays/*/*")) + sorted(stand.home.glob("store/*"))


def test_room_for_a_build_is_not_made_where_something_is_lost(copy: kit.VpmEnv) -> None:
    class Listener(Reporter):
        told: ClassVar[list[str]] = []

        def warn(self, text: str) -> None:
            self.told.append(text)

    in_profile(copy, "order.json").write_text("")

    sweep.make_room(Layout(str(copy.home)), Amount("100%", share=1.0), Listener())

    assert re.search(r"only .* are free.*; nothing was collected: the profile `default` is damaged", *Listener.told)


def test_where_it_is_lost_what_was_current_when_all_sets_were_so_lately(copy: kit.VpmEnv) -> None:
    (profile,) = profiles.all_profiles(Layout(str(copy.home)))
    order = in_profile(copy, "order.json")
    order.unlink()

    profiles.switch(profile, 3, verb="switch", hold=True)
    after_switch = chosen(copy.home).generations
    order.unlink()
    _repair(profile)

    assert after_switch == chosen(copy.home).generations == []
    assert read_sealed(order)["held"]


def _repair(profile: profiles.Profile) -> Mending:
    mending = Mending(layout=profile.layout, options=Options(), env=environment(), report=Reporter())
    profile_repair.mend(mending, profile_damage.look(profile).wrong)
    return mending


def test_an_undo_stays_one_where_the_order_is_lost(copy: kit.VpmEnv) -> None:
    (profile,) = profiles.all_profiles(Layout(str(copy.home)))
    profiles.switch(profile, 3, verb="rollback", hold=True, after=[1, 2, 3])
    in_profile(copy, "order.json").unlink()
    write_config(copy, "three")

    is_held = profiles.order(profile).held
    built = copy("build", "--offline", "--json", check=True).json

    assert (is_held, built["result"]) == (True, "held")
    assert profiles.current(profile) == 3


@pytest.mark.parametrize("is_lost", [["order.json"], ["current"], ["current", "order.json"]], ids="+".join)
def test_what_says_what_was_current_is_mended(copy: kit.VpmEnv, is_lost: list[str]) -> None:
    (profile,) = profiles.all_profiles(Layout(str(copy.home)))
    for name in is_lost:
        in_profile(copy, name).unlink()
    registry.renew(profile.layout)  # every verb does

    mended = _repair(profile)

    assert (mended.refused, profile_damage.look(profile).wrong) == ([], [])
    assert (profiles.current(profile), profiles.order(profile).numbers) == (4, [1, 2, 3, 4])


def test_gc_spares_what_is_needed_and_has_lost_its_link(copy: kit.VpmEnv) -> None:
    """1 is kept, 3 is the rollback target, 2 is neither."""
    (profile,) = profiles.all_profiles(Layout(str(copy.home)))
    profiles.rewrite(profile, profiles.read(profile, 1)._replace(keep=True))
    overlays = [in_profile(copy, f"generations/{number}").resolve() for number in (1, 2, 3, 4)]
    for number in (1, 2, 3):
        in_profile(copy, f"generations/{number}").unlink()

    found = profile_damage.look(profile)
    sweep.collect(profile.layout, Policy(), dry_run=False, wait=0)
    mended = _repair(profile)

    assert [path.exists() for path in overlays] == [True, False, True, True]
    told = "generation {} has its overlay and no pointer to it"
    assert [entry.text for entry in found.wrong] == [told.format(1)]
    assert [entry.text for entry in found.ignored] == [told.format(2), told.format(3)]
    assert (mended.refused, in_profile(copy, "generations/1").resolve()) == ([], overlays[0])


@pytest.mark.long
def test_what_is_kept_gets_its_link_back_when_gc_takes_the_last_one_to_its_set(copy: kit.VpmEnv) -> None:
    write_config(copy, "one")
    copy("build", "--offline", check=True)
    copy("rollback", "--bad", check=True)
    copy("keep", "1", check=True)
    age(copy.home)
    in_profile(copy, "generations/1").unlink()

    assert numbers(copy("gc", "--json", check=True).json) == [2, 5]
    assert in_profile(copy, "generations/1").exists()
    assert copy("verify").exit == 0


def test_keep_links_what_is_there(copy: kit.VpmEnv) -> None:
    """A gc that was killed took the link already."""
    (profile,) = profiles.all_profiles(Layout(str(copy.home)))
    in_profile(copy, "generations/1").unlink()

    keeping.mark(profile, ["1"], keep=True, wait=0)

    assert in_profile(copy, "generations/1").exists()


def test_what_a_first_switch_was_to_make_current_stays(copy: kit.VpmEnv) -> None:
    """It was killed, or `current` is lost: nobody can tell."""
    order = {
        "format": 1,
        "order": [1],
        "held": False,
        "before": [],
        "held_before": False,
        "switches": [[1, 1.0, "build"]],
    }
    in_profile(copy, "order.json").write_text(json.dumps(sealed(order)))
    in_profile(copy, "current").unlink()
    (copy.home / "registry.json").unlink()

    assert [entry.generation.number for entry in chosen(copy.home).generations] == [2, 3]


def test_a_repair_leaves_alone_what_somebody_mended_meanwhile(copy: kit.VpmEnv) -> None:
    (profile,) = profiles.all_profiles(Layout(str(copy.home)))
    order = in_profile(copy, "order.json")
    order.unlink()
    wrong = profile_damage.look(profile).wrong
    profiles.switch(profile, 3, verb="switch", hold=True)
    before = order.read_bytes()
    mending = Mending(layout=profile.layout, options=Options(), env=environment(), report=Reporter())

    profile_repair.mend(mending, wrong)

    assert [entry.cure for entry in wrong] == [profile_damage.ORDER]
    assert (order.read_bytes(), mending.done, mending.refused) == (before, [], [])


def test_what_a_killed_build_left_in_an_overlay_goes_with_it(copy: kit.VpmEnv) -> None:
    digests = copy("gc", "--dry-run", "--json").json["overlays"]
    (half,) = (path for path in copy.home.glob("overlays/*/*") if path.name == digests[0])
    (half / ".overlay.json.4194305-0123abcd.new").write_bytes(b"{")

    assert copy("gc").exit == 0
    assert not half.exists()


def test_gc_on_a_terminal_of_80_columns(copy: kit.VpmEnv) -> None:
    written = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", on_terminal(copy, "gc", "--dry-run"))

    assert max(map(len, written.splitlines())) <= 80
    assert "package      one-1.0" in written
    assert "would free" in written.splitlines()[-1]


def test_a_dry_run_says_to_the_byte_what_gc_frees(copy: kit.VpmEnv) -> None:
    """Files with several names, in two overlays and the store, count once; what stays elsewhere frees nothing."""
    with killed_while_staging(copy.home) as leftover:
        planned = fits_schema("gc", copy("gc", "--dry-run", "--json", check=True).json)
        before = blocks(copy.home)
        swept = fits_schema("gc", copy("gc", "--json", check=True).json)

        assert planned["bytes"] == swept["bytes"] == before - blocks(copy.home)
        assert planned["bytes"] == sum(item["bytes"] for item in planned["items"])
        assert {**planned, "dry_run": False} == swept
        (staged,) = (item for item in swept["items"] if item["kind"] == "leftover")
        assert staged["name"] == leftover.name
        assert staged["bytes"] >= 50_000
        assert not leftover.exists()
    assert copy("gc", "--json").json["bytes"] == 0
    assert copy("verify").exit == 0


@contextmanager
def killed_while_staging(home: Path) -> Iterator[Path]:
    """Let a process die in the middle of making something, as a build does that is out of memory."""
    code = (
        "import sys, time; from envbuilder import fs\n"
        f"with fs.staging({str(home / 'tmp')!r}) as folder:\n"
        "    fs.write_plain(folder + '/half', b'x' * 50_000); print(folder, flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=kit.ROOT)
    assert child.stdout
    folder = Path(child.stdout.readline().strip())
    child.kill()
    child.communicate()
    yield folder


def test_a_file_with_several_names_is_freed_with_the_last(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 9000)
    os.link(tmp_path / "a" / "file", tmp_path / "b" / "file")
    os.link(tmp_path / "a" / "file", tmp_path / "c" / "file")
    folder = (tmp_path / "a").lstat().st_blocks * 512
    file = (tmp_path / "a" / "file").lstat().st_blocks * 512
    ledger = Ledger()

    freed = [ledger.add(str(tmp_path / name)) for name in ("a", "b", "c")]

    assert freed == [folder, folder, folder + file]
    assert occupied([str(tmp_path / "a"), str(tmp_path / "b")]) == 2 * folder + file


def chosen(home: Path, **limits: Any) -> going.Going:
    disk = limits.pop("disk", Disk(free=0, total=1))
    return going.plan(Layout(str(home)), Policy(**limits), now=time.time(), disk=disk)


def test_a_limit_takes_the_least_recently_current_first_and_no_more_than_it_needs(copy: kit.VpmEnv) -> None:
    everything = chosen(copy.home)
    first = sum(item.bytes for item in everything.items[:2])  # generation 1 and its overlay
    taken = occupied(
        str(copy.home / part)
        for part in ("store", "overlays", "sources", "profiles", "tmp", "trash", "cache/skeletons")
    )

    fits = chosen(copy.home, max_size=taken)
    a_bit = chosen(copy.home, max_size=taken - first)
    more = chosen(copy.home, max_size=taken - first - 1)
    too_much = chosen(copy.home, max_size=taken - everything.bytes - 4096)
    lacking = chosen(copy.home, min_free=Amount("x", bytes=1000 + first), disk=Disk(free=1000, total=10**9))

    assert (fits.items, fits.over) == ([], 0)
    assert [entry.generation.number for entry in a_bit.generations] == [1]
    assert [entry.generation.number for entry in more.generations] == [1, 2]
    assert (len(too_much.generations), too_much.over) == (2, 4096)
    assert [entry.generation.number for entry in lacking.generations] == [1]


def test_what_was_current_again_later_goes_later(copy: kit.VpmEnv) -> None:
    (order,) = copy.home.glob("profiles/*/*/order.json")
    record = json.loads(order.read_text())
    start = time.time() - 3 * 86400
    record["switches"] = [[number, start + at, "switch"] for at, number in enumerate((1, 2, 1, 3, 4))]
    order.write_text(json.dumps(sealed(record)))

    doomed = gc.least_recent_first(gc.doomed(Layout(str(copy.home)), Policy(), now=time.time()), now=time.time())

    assert [entry.generation.number for entry in doomed] == [2, 1]


def test_what_was_current_before_all_that_is_remembered_may_have_been_so_until_then(
    copy: kit.VpmEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a switch more than is remembered, nobody knows when generation 1 was current: in doubt, lately."""
    day, now = 86400, time.time()
    (order,) = copy.home.glob("profiles/*/*/order.json")
    record = json.loads(order.read_text())
    record["switches"] = [[2, now - 9 * day, "switch"], [3, now - 8 * day, "switch"], [4, now - 7 * day, "switch"]]
    order.write_text(json.dumps(sealed(record)))

    def spared(older_than: float) -> bool:
        policy = Policy(older_than=older_than * day)
        return 1 not in [entry.generation.number for entry in gc.doomed(Layout(str(copy.home)), policy, now=now)]

    (generation,) = copy.home.glob("profiles/*/*/generations/1.json")
    made = json.loads(generation.read_text())
    generation.write_text(json.dumps(sealed({**made, "created": "2020-01-01T00:00:00+00:00"})))
    known = spared(10), spared(8)
    monkeypatch.setattr(profiles, "REMEMBERED", 3)

    assert known == (False, False)
    assert (spared(10), spared(8)) == (True, False)
    doomed = gc.least_recent_first(gc.doomed(Layout(str(copy.home)), Policy(), now=now), now=now)
    assert next((entry.generation.number, entry.until) for entry in doomed) == (1, now - 9 * day)


def test_a_limit_that_cannot_be_met_is_told(copy: kit.VpmEnv) -> None:
    out, err = piped(copy, "gc", "--dry-run", "--max-size", "1", code=1)
    free = copy("gc", "--dry-run", "--min-free", "100%", "--json")
    enough = fits_schema("gc", copy("gc", "--max-size", "1T", "--min-free", "1", "--json", check=True).json)

    assert "overlay" in out
    assert without_sizes(err) == (
        "would free SIZE: 2 overlays, 1 package\n"
        "warning: SIZE too little: what is left is protected\n"
        "\nhint: current, newest, kept and recent sets stay, rollback targets, and what a process uses\n"
    )
    assert (free.exit, free.json["over"] > 0, len(free.json["generations"])) == (1, True, 2)
    assert (enough["items"], enough["bytes"], enough["over"]) == ([], 0, 0)


def test_what_goes_stays_in_the_trash_for_its_grace(copy: kit.VpmEnv) -> None:
    planned = copy("gc", "--dry-run", "--json", check=True).json["bytes"]
    before = blocks(copy.home)

    kept = fits_schema("gc", copy("gc", "--grace", "1h", "--json", check=True).json)
    assert kept["bytes"] == before - blocks(copy.home)
    assert kept["bytes"] + kept["later"] == planned
    assert len(list((copy.home / "trash").iterdir())) == 3
    assert copy("gc", "--json", check=True).json["items"] == [], "an hour is not over"

    layout = Layout(str(copy.home))
    assert trash.due(layout, time.time()) == []
    assert len(trash.due(layout, time.time() + 3600)) == 3
    out, err = piped(copy, "gc", "--grace", "0s")
    assert before - blocks(copy.home) == planned
    assert without_sizes(err) == "freed SIZE: 0 overlays, 0 packages, 3 leftovers\n"
    assert out.count("its grace is over") == 3


def test_a_build_makes_room_first_if_the_config_says_so(copy: kit.VpmEnv) -> None:
    write_config(copy, "three", extra="min_free: 100%\n")
    done = copy("build", "--offline", check=True)
    write_config(copy, "three", extra="min_free: 1K\n")
    quiet = copy("build", "--offline", "--force", check=True)

    assert re.search(
        r"note: only .* are free, less than `min_free: 100%`: collected 2 overlays, 1 package, which freed", done.stderr
    )
    assert re.search(r"warning: .* are lacking to `min_free: 100%`; what is left is protected", done.stderr)
    assert "nothing changed: generation 4" in done.stderr, "it is in no digest"
    assert "min_free" not in quiet.stderr
    assert [entry["on_disk"] for entry in copy("history", "--json").json["generations"]] == [False, False, True, True]


def test_a_build_does_not_wait_to_make_room(copy: kit.VpmEnv) -> None:
    write_config(copy, "three", extra="min_free: 100%\n# once more\n")
    with flocks.locked(copy.home / "flocks" / "gc", shared=True):
        done = copy("build", "--offline", "--force", check=True)

    assert f"nothing was collected, for process {os.getpid()} (for" in done.stderr
    assert (copy.home / "trash").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("keep",), 2, "error: the following arguments are required: N\n"),
        (("keep", "x"), 2, "error: `x` is no generation\n"),
        (("gc", "--max-size", "lots"), 2, "error: `lots` is no size; write a number and `K`, `M`, `G` or `T`: `10G`\n"),
        (("gc", "--min-free", "5 %%"), 2, "error: `5 %%` is neither a size nor a share; write `20G` or `5%`\n"),
        (("gc", "--min-free", "200%"), 2, "error: `200%` is more than there is\n"),
        (("gc", "--grace", "soon"), 2, "error: `soon` is no duration\n"),
    ],
)
def test_mistakes(stand: kit.VpmEnv, words: tuple[str, ...], code: int, said: str) -> None:
    out, err = piped(stand, *words, code=code)

    assert (out, err[: len(said)]) == ("", said)


def test_a_wrong_min_free_is_told_with_its_place(stand: kit.VpmEnv) -> None:
    write_config(stand, "three", extra="min_free: plenty\n")

    _, err = piped(stand, "build", code=1)

    assert ":3:11: `min_free`: must be a size such as `20G` or a share such as `5%`, not `plenty`" in err


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("512", 512), ("10G", 10 << 30), ("1.5 MiB", 3 << 19), ("2kb", 2000), ("1t", 1 << 40)],
)
def test_sizes(text: str, bytes_: int) -> None:
    assert size(text) == bytes_
    assert amount(text).of(7) == bytes_
    assert amount("2.5%").of(1000) == 25


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Let a child hold the lock at `path`; its process id."""
    take = f"with flocks.locked({str(path)!r})"
    code = f"import sys; from envbuilder import flocks\n{take}: print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=kit.ROOT) as child:
        assert child.stdout
        child.stdout.readline()
        yield child.pid


def store_lock(stand: kit.VpmEnv) -> str:
    """Name the lock of whoever makes the package `four`."""
    (wheel,) = (stand.folder.parent / "links").glob("four-*.whl")
    made_from = {"format": FORMAT, "wheel": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    return f"store-{sha256_of(made_from)[:32]}.lock"


def overlay_lock(stand: kit.VpmEnv) -> str:
    current = stand("path", check=True).stdout.strip()
    return f"overlay-{'-'.join(current.split('/')[-2:])}"


WAITS = [
    (("gc",), "gc"),
    (("gc",), "trash"),
    (("keep", "1"), "gc"),
    (("verify",), "gc"),
    (("switch", "3"), "gc"),
    (("rollback",), "profile"),
    (("build", "--offline"), "build"),
    (("build", "--offline", "--force"), "overlay"),
    (("build", "--offline"), "store"),
]


@pytest.mark.parametrize(("words", "lock"), WAITS)
def test_every_wait_for_a_lock_says_who_has_it_and_ends_when_it_was_told_to(
    words: tuple[str, ...],
    lock: str,
    copy: kit.VpmEnv,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, so that nobody waits two real seconds; who holds the lock is a real other one."""
    write_config(copy, "four" if lock in ("build", "store") else "three")
    (key,) = os.listdir(copy.home / "profiles" / "default")
    names = {"build": f"build-default-{key}", "profile": f"profile-default-{key}"}
    named = {"store": store_lock, "overlay": overlay_lock}.get(lock, lambda _: names.get(lock, lock))(copy)
    for name, value in {**copy.env, "VPM_ENV_LOCK_TIMEOUT": "0.3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(flocks, "TELL_AFTER", 0.04)
    monkeypatch.chdir(copy.folder)

    with held(copy.home / "flocks" / named) as pid:
        started = time.monotonic()
        code = cli.main(list(words))
        seconds = time.monotonic() - started
        told = capsys.readouterr().err

    assert code == 1, told
    times = len(re.findall(rf"note: waiting for process {pid} \(for \d+ s\), \d+ s so far\n", told))
    assert 1 <= times <= 1 + math.log2(max(seconds / 0.04, 1)), "after 0.04, 0.08, 0.16 s and so on"
    assert f"error: gave up after 0 s: `{copy.home}/flocks/{named}` is held by process {pid} (for" in told
    assert "VPM_ENV_LOCK_TIMEOUT" in told


def test_a_wait_is_told_at_growing_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, *(second / 2 for second in range(1, 500))])
    monkeypatch.setattr(flocks.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(flocks.time, "sleep", lambda _: None)
    told: list[float] = []

    second = flocks.locked(tmp_path / "lock", wait=200, on_wait=lambda _, seconds: told.append(seconds))

    with flocks.locked(tmp_path / "lock", wait=0), pytest.raises(Busy), second:
        pass

    assert told == [2, 4, 8, 16, 32, 64, 124, 184]


def test_what_builds_and_switches_say_in_json_fits_their_schemas(copy: kit.VpmEnv) -> None:
    write_config(copy, "three")
    fits_schema("build", copy("build", "--offline", "--json", check=True).json)
    write_config(copy, "four")
    planned = fits_schema("build", copy("build", "--offline", "--dry-run", "--json", check=True).json)
    made = fits_schema("build", copy("build", "--offline", "--no-switch", "--json", check=True).json)
    switched = fits_schema("switch", copy("switch", "5", "--json", check=True).json)
    back = fits_schema("rollback", copy("rollback", "--json", check=True).json)
    sound = fits_schema("verify", copy("verify", "--json", check=True).json)
    next(copy.home.glob("store/*-four-1.0/lib/four/data.bin")).unlink()
    damaged = fits_schema("verify", copy("verify", "--json").json)

    assert (planned["result"], made["result"]) == ("planned", "made")
    assert (switched["generation"], back["generation"], back["before"]) == (5, 4, 5)
    assert (sound["damage"], damaged["damage"][0]["problems"]) == ([], ["`lib/four/data.bin` is missing"])


def test_what_a_process_uses_stays(copy: kit.VpmEnv) -> None:
    (lease,) = copy.home.glob("profiles/*/*/generations/1/.lease")
    with lease.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        record = copy("gc", "--dry-run", "--json", check=True).json
        _, err = piped(copy, "gc")

    assert record["leased"] == [lease.resolve().parent.name]
    assert numbers(record) == [2]
    assert record["packages"] == []
    told = f"KEY stays: process {os.getpid()} holds its lease\nfreed SIZE: 1 overlay, 0 packages\n"
    assert without_sizes(err) == told
    assert copy("run", "--generation", "1", "--", "python", "-c", "import one", check=True).exit == 0


def test_what_is_in_the_trash_already_counts_as_gone(copy: kit.VpmEnv) -> None:
    everything = chosen(copy.home)
    taken = occupied(
        str(copy.home / part)
        for part in ("store", "overlays", "sources", "profiles", "tmp", "trash", "cache/skeletons")
    )
    limit = {"max_size": taken - everything.items[1].bytes}
    copy("gc", "--max-size", str(limit["max_size"]), "--grace", "1h", check=True)

    assert len(list((copy.home / "trash").iterdir())) == 1
    assert chosen(copy.home, **limit).items == []


def test_where_packages_are_kept_is_no_part_of_what_is_asked_for(tmp_path: Path) -> None:
    texts = ("plugins: []\n", "plugins: []\nmin_free: 5%\nstores: [/site, ../near]\n")
    read = [of_content(text.encode(), file=f"{tmp_path}/work/plugins.yaml", env=environment()) for text in texts]

    assert read[0].digest == read[1].digest
    assert read[1].stores == ("/site", f"{tmp_path}/near")
    assert read[1].min_free == Amount("5%", share=0.05)


def test_a_home_that_is_not_there_is_not_made(stand: kit.VpmEnv, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"

    assert piped(stand, "gc", "--home", str(nowhere)) == ("", "freed 0 B: 0 overlays, 0 packages\n")
    assert stand("keep", "1", "--home", nowhere).exit == 2
    assert not nowhere.exists()


def test_keep_on_a_terminal(copy: kit.VpmEnv) -> None:
    assert on_terminal(copy, "keep", "1") == "generation 1 (KEY) is kept: gc spares it\n"
    assert on_terminal(copy, "unkeep", "1") == "generation 1 (KEY) is kept no longer\n"


def test_history_shows_what_is_left_of_a_generation_whose_record_is_torn(copy: kit.VpmEnv) -> None:
    whole = copy("history", check=True).stdout.splitlines()
    digests = [entry["digest"] for entry in copy("history", "--json", check=True).json["generations"]]
    (record,) = copy.home.glob("profiles/default/*/generations/2.json")
    record.write_text(record.read_text()[:100])

    torn, err = piped(copy, "history")
    told = fits_schema("history", copy("history", "--json", check=True).json)["generations"]

    assert err == (
        "warning: the record of generation 2 cannot be read: `vpm-env verify --repair` mends what can be mended\n"
    )
    assert re.fullmatch(r" +2  KEY  unknown  TIME +its record is lost", torn.splitlines()[2])
    assert [entry["digest"] for entry in told] == digests
    assert told[1]["reason"] == "its record is lost"
    assert [line.split()[:2] for line in copy("history").stdout.splitlines()] == [line.split()[:2] for line in whole]
