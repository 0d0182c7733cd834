"""Git and local sources: refs become commits, folders become copies, credentials go nowhere."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import pytest

from envbuilder import paths, remotes, sources, tree
from envbuilder.config import Git, Local, Plugin, PyPI
from envbuilder.errors import Place, SourceError
from envbuilder.lock import Lock, LockedPackage

if TYPE_CHECKING:
    from envbuilder.sources import Source

PROJECT = {"pyproject.toml": "[project]\nname = 'demo'\nversion = '1'\n", "demo/__init__.py": "value = 1\n"}


class Fetcher:
    """Fetch as a build does, into a fresh scratch folder each time."""

    def __init__(self, folder: Path) -> None:
        self.layout = paths.Layout(str(folder / "vpm-home"))
        self.folder = folder
        self.count = 0

    def all(self, *plugins: Plugin, **options: Any) -> dict[str, Source]:
        self.count += 1
        scratch = self.folder / f"scratch{self.count}"
        scratch.mkdir()
        settings: dict[str, Any] = {"previous": None, "upgrade": False, "offline": False, **options}
        env = settings.pop("env", None) or paths.environment()
        return sources.fetch(plugins, layout=self.layout, env=env, scratch=str(scratch), **settings)

    def one(self, source: Git | Local, **options: Any) -> Source:
        return self.all(plugin(source), **options)["demo"]

    def commit(self, *args: Any, **options: Any) -> str:
        vcs = self.one(Git(*args) if not isinstance(args[0], Git) else args[0], **options).vcs
        assert vcs is not None
        return str(vcs["commit-id"])

    def error(self, source: Git | Local, **options: Any) -> str:
        with pytest.raises(SourceError) as caught:
            self.one(source, **options)
        return caught.value.message


def plugin(source: Git | Local | PyPI, name: str = "demo") -> Plugin:
    return Plugin(name=name, source=source, place=Place("plugins.yaml"))


def at(url: str, ref: str | None = None, subdirectory: str | None = None) -> Git:
    return Git(url=url, ref=ref, subdirectory=subdirectory)


def lock_of(source: Source) -> Lock:
    package = LockedPackage(name="demo", version="1", plugin=source.plugin, vcs=source.vcs)
    return Lock(packages=(package,), base={}, facts={}, config_digest="", base_digest="")


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> kit.Repository:
    return kit.git_repository(tmp_path / "origin", PROJECT)


def test_refs_of_every_kind_become_the_commit_that_they_name(fetcher: Fetcher, repository: kit.Repository) -> None:
    first = repository.head
    repository.tag("v1", annotated=True)
    repository.tag("light")
    second = repository.commit({"demo/new.py": ""})
    repository.git("update-ref", "refs/pull/7/head", second)
    repository.git("reset", "--quiet", "--hard", first)
    repository.branch("feature/x")
    third = repository.commit({"demo/x.py": ""})
    repository.git("checkout", "--quiet", "main")

    for ref, commit in {
        None: first,
        "main": first,
        "v1": first,
        "light": first,
        first: first,
        first[:9]: first,
        "feature/x": third,
        "refs/pull/7/head": second,
        "pull/7/head": second,
        second: second,
    }.items():
        assert fetcher.commit(at(repository.url, ref)) == commit, ref


def test_the_tree_is_that_of_the_commit_with_history(fetcher: Fetcher, repository: kit.Repository) -> None:
    repository.tag("v3.2")
    first = repository.head
    repository.commit({"demo/__init__.py": "value = 2\n"})
    source = fetcher.one(at(repository.url, "v3.2"))

    assert Path(source.path, "demo/__init__.py").read_text() == "value = 1\n"
    described = subprocess.run(
        ["git", "describe", "--tags"], cwd=source.path, capture_output=True, text=True, check=True
    )
    assert described.stdout.strip() == "v3.2"
    assert source.vcs == {"type": "git", "url": repository.url, "requested-revision": "v3.2", "commit-id": first}


def test_a_locked_commit_stays_until_upgraded(fetcher: Fetcher, repository: kit.Repository) -> None:
    first = fetcher.one(at(repository.url, "main"))
    assert first.vcs is not None
    moved = repository.commit({"demo/new.py": ""})
    kept = lock_of(first)

    assert fetcher.commit(at(repository.url, "main"), previous=kept) == first.vcs["commit-id"]
    assert fetcher.commit(at(repository.url, "main"), previous=kept, upgrade=frozenset({"demo"})) == moved
    assert fetcher.commit(at(repository.url, "main"), previous=kept, upgrade=True) == moved
    assert fetcher.commit(at(repository.url, "HEAD"), previous=kept) == moved
    others = frozenset({"other"})
    assert fetcher.commit(at(repository.url, "main"), previous=kept, upgrade=others) == first.vcs["commit-id"]


def test_a_locked_commit_is_kept_though_its_branch_was_rewritten(fetcher: Fetcher, repository: kit.Repository) -> None:
    repository.branch("topic")
    repository.commit({"demo/lost.py": ""})
    first = fetcher.one(at(repository.url, "topic"))
    repository.git("checkout", "--quiet", "main")
    repository.git("branch", "--quiet", "-D", "topic")
    fetcher.one(at(repository.url, "main"))
    again = fetcher.one(at(repository.url, "topic"), previous=lock_of(first))

    assert Path(again.path, "demo/lost.py").exists()


def test_what_the_mirror_has_needs_no_network(fetcher: Fetcher, repository: kit.Repository) -> None:
    first = fetcher.one(at(repository.url, "main"))
    assert first.vcs is not None
    repository.folder.rename(repository.folder.with_name("gone"))

    assert fetcher.commit(at(repository.url, "main"), previous=lock_of(first)) == first.vcs["commit-id"]
    assert fetcher.commit(at(repository.url, "main"), offline=True) == first.vcs["commit-id"]
    assert "the network is off" in fetcher.error(at(repository.url, "other"), offline=True)
    assert "the network is off" in fetcher.error(at("https://index.example/x.git"), offline=True)


def test_a_lock_that_a_killed_git_left_is_no_obstacle(fetcher: Fetcher, repository: kit.Repository) -> None:
    fetcher.one(at(repository.url, "main"))
    moved = repository.commit({"demo/new.py": ""})
    (mirror,) = Path(fetcher.layout.cache, "git").iterdir()
    (mirror / "refs/heads").mkdir(parents=True, exist_ok=True)
    left = ("refs/heads/main.lock", "packed-refs.lock", "config.lock", "objects/tmp_obj_x", "objects/pack/tmp_pack_y")
    for name in left:
        (mirror / name).touch()

    assert fetcher.commit(at(repository.url, "main")) == moved
    assert not [name for name in left if (mirror / name).exists()]


def test_a_commit_without_its_files_that_a_killed_git_left_is_fetched_again(
    fetcher: Fetcher, repository: kit.Repository
) -> None:
    fetcher.one(at(repository.url, "main"))
    moved = repository.commit({"demo/new.py": "value = 3\n"})
    (mirror,) = Path(fetcher.layout.cache, "git").iterdir()
    inner = Path("objects", moved[:2], moved[2:])
    (mirror / inner).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(repository.folder / ".git" / inner, mirror / inner)

    assert "the network is off" in fetcher.error(at(repository.url, moved), offline=True)
    assert Path(fetcher.one(at(repository.url, "main")).path, "demo/new.py").read_text() == "value = 3\n"
    assert fetcher.commit(at(repository.url, moved), offline=True) == moved


def _tear_files(mirror: Path, pattern: str) -> None:
    found = [path for path in mirror.glob(pattern) if path.is_file()]
    assert found
    for path in found:
        path.chmod(0o644)
        path.write_bytes(b"")


@pytest.mark.parametrize("pattern", ["HEAD", "objects/??/*", "objects/pack/*.idx", "objects/pack/*.pack", "refs/**/*"])
def test_a_torn_mirror_is_made_anew(fetcher: Fetcher, repository: kit.Repository, pattern: str) -> None:
    """As by a power cut: empty files where git wrote some."""
    first = fetcher.commit(at(repository.url, "main"))
    (mirror,) = Path(fetcher.layout.cache, "git").iterdir()
    if "pack" in pattern:
        subprocess.run(["git", "-C", mirror, "repack", "-adq"], check=True)
    _tear_files(mirror, pattern)

    assert fetcher.commit(at(repository.url, "main")) == first
    assert fetcher.commit(at(repository.url, "main"), offline=True) == first


def test_a_remote_that_is_torn_costs_no_mirror(fetcher: Fetcher, repository: kit.Repository) -> None:
    first = fetcher.commit(at(repository.url, "main"))
    moved = repository.commit({"demo/new.py": ""})
    inner = f".git/objects/{moved[:2]}/{moved[2:]}"
    (repository.folder / inner).chmod(0o644)
    (repository.folder / inner).write_bytes(b"")

    assert fetcher.error(at(repository.url, moved))
    assert fetcher.commit(at(repository.url, first), offline=True) == first


def test_a_network_that_fails_costs_no_mirror(fetcher: Fetcher, repository: kit.Repository) -> None:
    first = fetcher.commit(at(repository.url, "main"))
    repository.folder.rename(repository.folder.with_name("gone"))

    assert fetcher.error(at(repository.url, "f" * 40))
    assert fetcher.commit(at(repository.url, "main"), offline=True) == first


def test_a_subdirectory_must_be_there_and_hold_a_project(fetcher: Fetcher, repository: kit.Repository) -> None:
    repository.commit({f"plugins/one/{path}": text for path, text in PROJECT.items()} | {"docs/x": ""})
    source = fetcher.one(at(repository.url, None, "plugins/one"))

    assert Path(source.path).parts[-2:] == ("plugins", "one")
    assert source.vcs is not None
    assert source.vcs["subdirectory"] == "plugins/one"
    assert "subdirectory `plugins/two` is not in commit" in fetcher.error(at(repository.url, None, "plugins/two"))
    assert "no `pyproject.toml`" in fetcher.error(at(repository.url, None, "docs"))
    assert "leads out" in fetcher.error(at(repository.url, None, "../x"))


def test_submodules_come_along_and_are_there_offline(
    fetcher: Fetcher, repository: kit.Repository, tmp_path: Path
) -> None:
    inner = kit.git_repository(tmp_path / "inner", {"data.txt": "inner\n"})
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../inner", "vendor/inner")
    repository.git("config", "--file", ".gitmodules", "submodule.vendor/inner.url", "../inner")
    repository.commit()
    first = fetcher.one(at(repository.url))
    inner.folder.rename(tmp_path / "gone")
    repository.folder.rename(tmp_path / "gone too")

    for source in (first, fetcher.one(at(repository.url), previous=lock_of(first), offline=True)):
        assert Path(source.path, "vendor/inner/data.txt").read_text() == "inner\n"


def test_all_failures_are_told_at_once(fetcher: Fetcher, repository: kit.Repository, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(SourceError) as caught:
        fetcher.all(
            plugin(at((tmp_path / "nowhere").as_uri()), "a"),
            plugin(at(repository.url, "no-such-branch"), "b"),
            plugin(Local(path=str(tmp_path / "missing")), "c"),
            plugin(Local(path=str(tmp_path / "empty")), "d"),
            plugin(Local(path=str(tmp_path / "text.txt")), "e"),
            plugin(at("https://${NO_SUCH_TOKEN}@index.example/x.git"), "f"),
            plugin(PyPI(package="fine"), "g"),
        )

    assert [name for name, _ in caught.value.missing] == ["a", "b", "c", "d", "e", "f"]
    told = dict(caught.value.missing)
    assert "no-such-branch" in told["b"]
    assert "does not exist" in told["c"]
    assert "pyproject.toml" in told["d"]
    assert "no folder, wheel or sdist" in told["e"]
    assert "`NO_SUCH_TOKEN`" in told["f"]


@pytest.mark.parametrize(
    "url", ["--upload-pack=touch x", "ext::sh -c touch%20x", "https://h/x\ny", "relative/path", "ftp://h/x", "fd::17"]
)
def test_urls_that_git_could_run_are_refused(fetcher: Fetcher, url: str) -> None:
    assert "is no URL of a git repository" in fetcher.error(at(url))


class Watch(list[Any]):
    """Note, whenever a request comes in, the command line of every process that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = ""

    def append(self, request: Any) -> None:
        super().append(request)
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.seen += process.read_bytes().replace(b"\0", b" ").decode(errors="replace") + "\n"
            except OSError:
                continue


def everything_below(*folders: str) -> bytes:
    found = [os.path.join(parent, name) for folder in folders for parent, _, names in os.walk(folder) for name in names]
    return b"\n".join(name.encode() + b"\n" + Path(name).read_bytes() for name in found)


@pytest.mark.parametrize("form", ["${WHO}:${TOKEN}", "user:${TOKEN}", "user:s3cr%25t"])
def test_credentials_work_and_appear_nowhere(
    fetcher: Fetcher, repository: kit.Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    monkeypatch.setenv("WHO", "user")
    monkeypatch.setenv("TOKEN", "s3cr%25t")
    stored = tmp_path / "home" / ".git-credentials"
    (tmp_path / "home" / ".gitconfig").write_text(f"[credential]\n\thelper = store --file={stored}\n")
    with kit.git_http(repository, password="s3cr%t") as server:
        server.requests = watch = Watch()
        source = fetcher.one(at(server.url.replace("://", f"://{form}@"), "main"))
        failed = fetcher.error(at(server.url.replace("://", f"://{form}@"), "no-such"))

    assert Path(source.path, "pyproject.toml").exists()
    assert source.vcs is not None
    assert source.vcs["url"] == server.url
    assert "git-remote-http" in watch.seen
    home, scratch = fetcher.layout.home, os.path.dirname(source.path)
    for text in (watch.seen, repr(source), failed, everything_below(home, scratch).decode(errors="replace")):
        assert "s3cr" not in text
    assert not stored.exists()


def test_a_wrong_password_is_told_without_it(fetcher: Fetcher, repository: kit.Repository) -> None:
    with kit.git_http(repository) as server:
        told = fetcher.error(at(server.url.replace("://", "://user:hunter2@")))

    assert "Authentication failed" in told or "authentication" in told.lower()
    assert "hunter2" not in told


def test_netrc_works(fetcher: Fetcher, repository: kit.Repository, home: Path) -> None:
    (home / ".netrc").write_text("machine 127.0.0.1 login user password secret\n")
    with kit.git_http(repository) as server:
        assert fetcher.commit(at(server.url)) == repository.head


def test_the_users_own_helper_and_instead_of_work(fetcher: Fetcher, repository: kit.Repository, home: Path) -> None:
    with kit.git_http(repository) as server:
        helper = '!f() { test "$1" = get && echo username=user && echo password=secret; }; f'
        text = f'[url "{server.url}"]\n\tinsteadOf = https://index.example/x\n'
        (home / ".gitconfig").write_text(f'{text}[credential]\n\thelper = "{_quoted(helper)}"\n')
        source = fetcher.one(at("https://index.example/x"))

    assert source.vcs is not None
    assert source.vcs["url"] == "https://index.example/x"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def test_ssh_is_left_to_the_user(fetcher: Fetcher, repository: kit.Repository, tmp_path: Path) -> None:
    log, script = tmp_path / "ssh.log", tmp_path / "ssh"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\nshift $(($# - 1))\nexec sh -c "$1"\n')
    script.chmod(0o755)
    variables = {**os.environ, "GIT_SSH_COMMAND": str(script), "GIT_SSH_VARIANT": "ssh"}
    source = fetcher.one(at(f"git@index.example:{repository.folder}"), env=paths.Environment(variables))

    assert source.vcs is not None
    assert source.vcs["url"] == f"git@index.example:{repository.folder}"
    assert "git@index.example" in log.read_text()


def test_a_git_directory_of_the_caller_is_not_used(
    fetcher: Fetcher, repository: kit.Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = kit.git_repository(tmp_path / "other", {"other": ""})
    head = repository.head
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index-file"))

    assert fetcher.commit(at(repository.url)) == head
    assert not (tmp_path / "index-file").exists()


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://user:pw@h:8443/a.git", "https://h:8443/a.git"),
        ("https://${USER}:${TOKEN}@h/${GROUP}/a", "https://h/${GROUP}/a"),
        ("git+https://token@h/a", "https://h/a"),
        ("ssh://git@h:22/a", "ssh://git@h:22/a"),
        ("ssh://git:pw@h/a", "ssh://git@h/a"),
        ("git@h:a/b.git", "git@h:a/b.git"),
        ("file:///a@b", "file:///a@b"),
    ],
)
def test_urls_are_stored_without_credentials(url: str, safe: str) -> None:
    assert remotes.safe_url(url) == safe


@pytest.mark.parametrize(
    ("parent", "url", "found"),
    [
        ("https://h/group/a.git", "../b.git", "https://h/group/b.git"),
        ("https://h/group/a.git", "../../x/b.git", "https://h/x/b.git"),
        ("https://h/group/a.git", "./b", "https://h/group/a.git/b"),
        ("git@h:group/a.git", "../b.git", "git@h:group/b.git"),
        ("https://h/a", "https://user:pw@other/b", "https://other/b"),
    ],
)
def test_submodule_urls_count_from_their_parents(parent: str, url: str, found: str) -> None:
    with_credentials = remotes.Remote(url=parent, username="u", password="p")
    made = remotes.relative_to(with_credentials, url)

    assert made.url == found
    assert bool(made.password) == (parent.startswith("https://h/") and "other" not in url)


def names_below(folder: str) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if not path.is_dir()}
    return {name for name in found if not name.startswith(".git/")}


def test_of_a_work_tree_git_names_the_members(fetcher: Fetcher, repository: kit.Repository) -> None:
    repository.commit({".gitignore": "*.log\nsecret/\n", "build/kept.py": "", "gone.py": ""})
    repository.write({"new.py": "", "a.log": "", "secret/key": "", "demo/__pycache__/x.pyc": b""})
    (repository.folder / "gone.py").unlink()
    source = fetcher.one(Local(path=str(repository.folder)))

    assert names_below(source.path) == {*PROJECT, ".gitignore", "build/kept.py", "new.py"}


def test_a_part_of_a_work_tree_is_a_source_too(fetcher: Fetcher, repository: kit.Repository) -> None:
    repository.write({f"inner/{path}": text for path, text in PROJECT.items()} | {".gitignore": "ignored/\n"})
    ignored = repository.folder / "ignored"
    kit.project(ignored, "other")

    assert names_below(fetcher.one(Local(path=str(repository.folder / "inner"))).path) == set(PROJECT)
    assert "pyproject.toml" in names_below(fetcher.one(Local(path=str(ignored))).path)


def plain_folder(folder: Path, **more: str) -> Path:
    for name, text in {**PROJECT, **more}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_of_a_plain_folder_what_tools_leave_behind_is_left_out(fetcher: Fetcher, tmp_path: Path) -> None:
    left_over = {
        "build/lib/x.py": "", "dist/x.whl": "", ".venv/bin/python": "", "env/pyvenv.cfg": "", "env/lib/x.py": "",
        "demo.egg-info/PKG-INFO": "", "demo/__pycache__/a.pyc": "", "node_modules/a.js": "", ".tox/x": "",
    }  # fmt: skip
    folder = plain_folder(tmp_path / "folder", **left_over, **{"demo/build/kept.py": "", "README": ""})

    assert names_below(fetcher.one(Local(path=str(folder))).path) == {*PROJECT, "demo/build/kept.py", "README"}


def test_symlinks_inside_stay_and_files_outside_are_copied(fetcher: Fetcher, tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "folder")
    (tmp_path / "LICENSE").write_text("licence")
    (tmp_path / "data").mkdir()
    (folder / "demo/alias.py").symlink_to("__init__.py")
    (folder / "absolute.py").symlink_to(folder / "demo/__init__.py")
    (folder / "LICENSE").symlink_to("../LICENSE")
    (folder / "data").symlink_to("../data")
    copied = Path(fetcher.one(Local(path=str(folder))).path)

    assert os.readlink(copied / "demo/alias.py") == "__init__.py"
    assert os.readlink(copied / "absolute.py") == "demo/__init__.py"
    assert not (copied / "LICENSE").is_symlink()
    assert (copied / "LICENSE").read_text() == "licence"
    assert os.readlink(copied / "data") == str(tmp_path / "data")


@pytest.mark.parametrize("tracked", [False, True])
def test_a_folder_is_only_read(fetcher: Fetcher, tmp_path: Path, tracked: bool) -> None:
    folder = plain_folder(tmp_path / "folder")
    if tracked:
        kit.git_repository(folder)
    (folder / "demo/tool").write_text("#!/bin/sh\n")
    (folder / "demo/tool").chmod(0o555)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = kit.tree_hash(folder)
    first, second = (fetcher.one(Local(path=str(folder))) for _ in range(2))
    after = kit.tree_hash(folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)

    assert before == after
    assert first.tree == second.tree != ""
    assert first.path != second.path
    assert os.access(Path(first.path, "demo/tool"), os.X_OK)
    assert first.directory == {"path": str(folder)}


def test_digest_and_fingerprint_follow_the_content(fetcher: Fetcher, tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "folder")
    source = Local(path=str(folder))
    env = paths.environment()
    seen = [(fetcher.one(source).tree, sources.fingerprint(source, env))]
    times = (folder / "demo/__init__.py").stat()
    changes = (
        lambda: (folder / "demo/__init__.py").write_text("value = 2\n"),
        lambda: (folder / "demo/__init__.py").chmod(0o755),
        lambda: (folder / "demo/new.py").write_text(""),
        lambda: (folder / "demo/new.py").rename(folder / "demo/newer.py"),
        lambda: (folder / "demo/link").symlink_to("newer.py"),
        (folder / "demo/newer.py").unlink,
    )
    for change in changes:
        change()
        # As `touch -r` and careless copiers do.
        os.utime(folder / "demo/__init__.py", ns=(times.st_atime_ns, times.st_mtime_ns))
        seen.append((fetcher.one(source).tree, sources.fingerprint(source, env)))

    assert len({tree for tree, _ in seen}) == len(seen)
    assert len({fingerprint for _, fingerprint in seen}) == len(seen)
    assert sources.fingerprint(source, env) == seen[-1][1]


def test_two_copies_of_a_folder_have_one_digest(fetcher: Fetcher, tmp_path: Path) -> None:
    one, two = (fetcher.one(Local(path=str(plain_folder(tmp_path / name)))) for name in ("one", "two"))

    assert one.tree == two.tree


def test_a_version_that_comes_from_tags_can_be_computed_in_the_copy(
    fetcher: Fetcher, repository: kit.Repository
) -> None:
    repository.commit({"pyproject.toml": "[build-system]\nrequires = ['setuptools-scm']\n"})
    repository.tag("v2.0")
    before = kit.tree_hash(repository.folder)
    first = fetcher.one(Local(path=str(repository.folder)))
    described = subprocess.run(
        ["git", "describe", "--tags", "--dirty"], cwd=first.path, capture_output=True, text=True, check=True
    )

    assert described.stdout.strip() == "v2.0"
    assert kit.tree_hash(repository.folder) == before
    assert names_below(first.path) == set(PROJECT)
    repository.tag("v3.0")
    repository.git("tag", "-d", "v2.0")
    assert fetcher.one(Local(path=str(repository.folder))).tree != first.tree


def test_files_are_sources(fetcher: Fetcher, tmp_path: Path) -> None:
    wheel = kit.wheel(tmp_path / "files", "demo")
    sdist = kit.sdist(tmp_path / "files", "demo")
    one, two = fetcher.one(Local(path=str(wheel))), fetcher.one(Local(path=str(sdist)))

    assert (one.kind, two.kind) == ("wheel", "sdist")
    assert one.archive is not None
    assert one.archive["hashes"] == {"sha256": one.tree}
    before = sources.fingerprint(Local(path=str(wheel)), paths.environment())
    kit.wheel(tmp_path / "files", "demo", files={"demo.py": ""})
    assert sources.fingerprint(Local(path=str(wheel)), paths.environment()) != before


def test_members_of_a_repository_inside_a_repository_come_along(repository: kit.Repository) -> None:
    kit.git_repository(repository.folder / "vendored", {"x.py": "", ".gitignore": "*.log\n"})
    (repository.folder / "vendored/a.log").touch()
    names = tree.members(str(repository.folder), paths.environment())

    assert {name for name in names if name.startswith("vendored/")} == {"vendored/.gitignore", "vendored/x.py"}
