"""S7 to S9, S12: what is built is what was asked for, from where it was allowed to come from."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands
from kit.indexes import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

GROUP = "vllm.general_plugins"


@dataclass
class Ground:
    """A base, a home that each case begins anew, two indexes, and repositories."""

    folder: Path
    vpm_env: kit.VpmEnv
    workshop: kit.Workshop
    private: kit.Index
    public: kit.Index

    def renew(self) -> None:
        """Begin with an empty home, but for the skeleton."""
        cached, skeletons = self.vpm_env.home / "cache" / "skeletons", self.folder / "skeletons"
        if cached.exists() and not skeletons.exists():
            shutil.copytree(cached, skeletons, symlinks=True)
        for path in (self.vpm_env.home, self.vpm_env.folder):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        if skeletons.exists():
            shutil.copytree(skeletons, cached, symlinks=True)

    def forget(self) -> None:
        """Delete the home but for the skeleton, and keep config and lock: as on another machine."""
        lock = self.lock
        config = (self.vpm_env.folder / "plugins.yaml").read_text()
        self.renew()
        self.vpm_env.config(config)
        (self.vpm_env.folder / "pylock.plugins.toml").write_text(lock)
        shutil.rmtree(self.folder / "uv", ignore_errors=True)

    def call(self, words: str, env: Mapping[str, str] | None = None) -> kit.Ended:
        """Call a verb."""
        return self.workshop(*words.split(), env={**self.vpm_env.env, **(env or {})}, cwd=self.vpm_env.folder)

    def build(self, config: str, env: Mapping[str, str] | None = None, words: str = "build") -> kit.Ended:
        """Write a config and build it."""
        self.vpm_env.config(config)
        return self.call(words, env)

    @property
    def lock(self) -> str:
        """Return the lock's text."""
        return (self.vpm_env.folder / "pylock.plugins.toml").read_text()

    def version(self, name: str) -> str:
        """Return the locked version of a package."""
        found = re.search(rf'name = "{name}"\nversion = "([^"]+)"', self.lock)
        return found[1] if found else ""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, workshop: kit.Workshop) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("supply")
    vpm_env = stands.small(folder)
    with kit.index(folder / "private") as private, kit.index(folder / "public") as public:
        kit.wheel(private.folder, "inner", "1.0", requires=["dep"])
        kit.wheel(public.folder, "inner", "9.0")
        kit.wheel(private.folder, "dep", "1.0")
        kit.wheel(public.folder, "dep", "9.0")
        kit.wheel(public.folder, "demo", "1.0")
        yield Ground(folder, vpm_env, workshop, private, public)


def of(*names: str, extra: str = "") -> str:
    """Write entries for plugins of an index."""
    return "plugins:\n" + "".join(f"  - {{name: {name}, source: pypi{extra}}}\n" for name in names)


def test_a_public_name_does_not_replace_a_private_one(ground: Ground, figure: Any) -> None:
    private, public = ground.private.url, ground.public.url
    best = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    conf = ground.folder / "pip.conf"
    conf.write_text(f"[global]\nindex-url = {private}\nextra-index-url = {public}\n")
    cases: dict[str, tuple[str, dict[str, str], str, bool]] = {
        "the config's order": (f"index: [{private}, {public}]\n" + of("inner"), {}, "1.0", False),
        "the config and pip": (f"index: [{private}]\n" + of("inner"), {"PIP_EXTRA_INDEX_URL": public}, "1.0", False),
        "a strategy": (f"index: [{private}, {public}]\n" + of("inner"), best, "1.0", False),
        "UV_*": (of("inner"), {"UV_INDEX": private, "UV_DEFAULT_INDEX": public}, "1.0", False),
        "UV_* and a strategy": (of("inner"), {"UV_INDEX": private, "UV_DEFAULT_INDEX": public, **best}, "1.0", True),
        "PIP_*": (of("inner"), {"PIP_INDEX_URL": private, "PIP_EXTRA_INDEX_URL": public}, "1.0", True),
        "PIP_* and a strategy": (
            of("inner"),
            {"PIP_INDEX_URL": private, "PIP_EXTRA_INDEX_URL": public, **best},
            "1.0",
            True,
        ),
        "pip.conf": (of("inner"), {"PIP_CONFIG_FILE": str(conf)}, "1.0", True),
        "a plugin's own": (f"index: {public}\n" + of("inner", extra=f", index: '{private}'"), {}, "9.0", False),
    }
    violations = []
    for name, (config, env, dep, noted) in cases.items():
        ground.renew()
        ended = ground.build(config, env)
        if ended.code:
            violations.append(f"{name}: {ended.stderr[-300:]}")
            continue
        if (ground.version("inner"), ground.version("dep")) != ("1.0", dep):
            violations.append(f"{name}: inner {ground.version('inner')}, dep {ground.version('dep')}")
        if ("the only one asked" in ended.stderr) != noted:
            violations.append(f"{name}: noted {not noted}: {ended.stderr}")
    figure("S7", "a higher version on a public index", count=len(cases), wanted=9, violations=violations)


def test_an_unknown_name_is_told_and_never_replaced(ground: Ground, figure: Any) -> None:
    own = f"  - {{name: iner, source: pypi, index: '{ground.private.url}'}}\n"
    cases = {
        "demoo": f"index: {ground.public.url}\n" + of("demo", "demoo"),
        "iner": f"index: {ground.public.url}\n" + of("inner") + own,
        "nothing-like-it": f"index: {ground.public.url}\n" + of("nothing-like-it"),
    }
    violations = []
    for name, config in cases.items():
        ground.renew()
        ended = ground.build(config)
        said = " ".join(ended.stderr.split())
        index = ground.private.url if name == "iner" else ground.public.url
        nearest = {"demoo": "did you mean `demo`?", "iner": "did you mean `inner`?"}.get(name, "")
        if ended.code != 1 or f"`{name}` is not found on `{index}`" not in said or nearest not in said:
            violations.append(f"{name}: {said}")
        if (ground.vpm_env.folder / "pylock.plugins.toml").exists():
            violations.append(f"{name}: something was locked")
    figure("S8", "names that no index has", count=len(cases), wanted=2, violations=violations)


class _Liar(ThreadingHTTPServer):
    folder: Path
    lie: str
    other: bytes


class _LiarHandler(BaseHTTPRequestHandler):
    """An index that lies as its server's `lie` says."""

    server: _Liar

    def do_GET(self) -> None:
        name = self.path.rstrip("/").rsplit("/", 1)[1]
        lie, files = self.server.lie, sorted(self.server.folder.iterdir())
        if name.endswith(".whl"):
            content = self.server.other if lie == "replaces" else (self.server.folder / name).read_bytes()
            length = len(content)
            content = content[:-100] if lie == "truncates" else content
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)
            return
        links = "".join(self._link(path, lie) for path in files if path.name.startswith(f"{name}-"))
        self.send_response(200 if links else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(links)))
        self.end_headers()
        self.wfile.write(links.encode())

    def _link(self, path: Path, lie: str) -> str:
        digest = hashlib.sha256(path.read_bytes() if lie != "lies" else b"another").hexdigest()
        fragment = "" if lie == "hashless" else f"#sha256={digest}"
        yanked = ' data-yanked="broken"' if lie == "yanked" and "-2.0-" in path.name else ""
        return f'<a href="/files/{path.name}{fragment}"{yanked}>{path.name}</a>\n'

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def liar(ground: Ground, tmp_path: Path) -> Iterator[tuple[_Liar, str]]:
    server = _Liar(("127.0.0.1", 0), _LiarHandler)
    server.folder, server.lie = tmp_path / "lies", ""
    kit.wheel(server.folder, "demo", "1.0")
    server.other = kit.wheel(tmp_path / "other", "demo", files={"demo/__init__.py": "evil = True\n"}).read_bytes()
    shutil.rmtree(ground.folder / "uv", ignore_errors=True)
    with serving(server):
        yield server, f"index: http://127.0.0.1:{server.server_port}/simple\n" + of("demo")


def test_files_are_those_that_were_locked(ground: Ground, liar: tuple[_Liar, str], figure: Any) -> None:
    server, config = liar
    violations = []

    def expect(lie: str, code: int, words: str, *, fresh: bool = True) -> None:
        ground.renew() if fresh else ground.forget()
        shutil.rmtree(ground.folder / "uv", ignore_errors=True)
        server.lie = lie
        ended = ground.build(config)
        said = " ".join(ended.stderr.split())
        store = list((ground.vpm_env.home / "store").glob("*-demo-*"))
        if ended.code != code or words not in said or "Traceback" in said or bool(store) == bool(code):
            violations.append(f"{lie or 'honest'}: {ended.code} {said[-400:]} {store}")

    expect("", 0, "switched")
    locked = ground.lock
    expect("replaces", 1, "ash mismatch")
    expect("truncates", 1, "demo")
    expect("lies", 1, "ash mismatch")
    expect("hashless", 0, "switched")
    if not re.search(r'sha256 = "[0-9a-f]{64}"', ground.lock):
        violations.append("an index without hashes leaves a lock without hashes")
    expect("", 0, "switched")
    kit.wheel(server.folder, "demo", "1.0", files={"demo/__init__.py": "print('another upload')\n"})
    expect("", 1, "ash mismatch", fresh=False)
    if ground.lock != locked:
        violations.append("a file that was uploaded again changed the lock")
    kit.wheel(server.folder, "demo", "2.0")
    expect("yanked", 0, "switched")
    if ground.version("demo") != "1.0":
        violations.append("a yanked release was taken")
    figure("S9", "files that are not what was locked", count=8, wanted=8, violations=violations)


def test_tls_does_not_end_on_the_way(ground: Ground, liar: tuple[_Liar, str], tmp_path: Path, figure: Any) -> None:
    """An index over TLS that sends one to plain HTTP is refused, whatever it says of hashes."""
    openssl = shutil.which("openssl") or pytest.skip("no openssl to make a certificate with")
    plain, _ = liar
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
    subprocess.run([*made, "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], check=True, capture_output=True)

    class Sender(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{plain.server_port}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay silent."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sender)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    ground.renew()
    with serving(server):
        url = f"https://127.0.0.1:{server.server_port}/simple"
        ended = ground.build(f"index: {url}\n" + of("demo"), {"SSL_CERT_FILE": str(tmp_path / "cert")})
    said = " ".join(ended.stderr.split())
    refused = ended.code == 1 and "asked over TLS and leads to `http://" in said
    figure("S9", "an index over TLS that leads to plain HTTP", count=1, violations=[] if refused else [said])


def test_commits_stay_until_somebody_asks_for_others(ground: Ground, tmp_path: Path, figure: Any) -> None:
    repository = kit.git_repository(kit.project(tmp_path / "moving", "moving"))
    first = repository.commit()
    repository.tag("v1")
    violations, looks = [], 0

    def expect(words: str, ref: str, commit: str, code: int = 0, told: str = "", *, forget: bool = False) -> None:
        nonlocal looks
        looks += 1
        if forget:
            ground.forget()
        text = f"plugins:\n  - {{name: moving, source: git, url: '{repository.url}', ref: {ref}}}\n"
        ended = ground.build(text, words=words)
        said = " ".join(ended.stderr.split())
        if ended.code != code or told not in said or f'commit-id = "{commit}"' not in ground.lock:
            violations.append(f"{words} {ref}: {ended.code} {said[-300:]} {ground.lock[:400]}")

    ground.renew()
    expect("build", "main", first)
    second = repository.commit({"moving/more.py": "x = 1\n"})
    expect("build --force", "main", first)
    expect("build", "main", first, forget=True)
    expect("upgrade moving", "main", second)
    ground.renew()
    expect("build", "v1", first)
    repository.git("tag", "--force", "v1", second)
    expect("build --force", "v1", first, told=f"the tag `v1` is commit {second[:12]} now, and was {first[:12]}")
    expect("check", "v1", first, told=f"the tag `v1` is commit {second[:12]} now")
    expect("upgrade moving", "v1", second)
    repository.git("checkout", "--quiet", "--orphan", "anew")
    repository.commit()
    repository.git("branch", "-M", "main")
    repository.git("tag", "--delete", "v1")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "--quiet", "--prune=now")
    expect("build", "v1", second, code=1, told=f"{second[:12]}", forget=True)
    figure("S9", "git: branches and tags that move, commits that go", count=looks, wanted=9, violations=violations)


def test_a_cache_that_others_may_write_to_is_not_used(ground: Ground, figure: Any) -> None:
    """uv compares no hash of what it unpacked once, so a home that is new would get what somebody put there."""
    config = f"find_links: {ground.public.folder}\npolicy: {{hashes: required}}\n" + of("demo")
    cache, words = ground.folder / "uv", "build --offline"
    cases = [("anybody's", "", 0o777, -1, -1), ("a folder in it", "wheels-v*", 0o777, -1, -1)]
    if os.getuid() == 0:
        cases += [("a group's", "", 0o775, -1, 4712), ("another's", "", 0o755, 4711, -1)]
    violations = []
    for name, pattern, mode, owner, group in cases:
        shutil.rmtree(cache, ignore_errors=True)
        ground.renew()
        violations += [f"{name}: no first build"] if ground.build(config, words=words).code else []
        _poison(next(cache.glob("archive-v*/*/demo/__init__.py")))
        ground.renew()
        for path in cache.glob(pattern) if pattern else [cache]:
            path.chmod(mode)
            os.chown(path, owner, group)
        ended = ground.build(config, words=words)
        got = [path.read_text() for path in ground.vpm_env.home.glob("store/*-demo-1.0/lib/demo/__init__.py")]
        if ended.code or len(got) != 1 or "POISON" in got[0]:
            violations.append(f"{name}: {ended.code} {got} {ended.stderr[-400:]}")
        if ended.stderr.count("is not used, but one in the home") != 1:
            violations.append(f"{name}: not told once: {ended.stderr}")
    shutil.rmtree(cache)
    figure("S9", "uv's cache in the hands of others", count=len(cases), wanted=2, violations=violations)


def _poison(module: Path) -> None:
    """Change what uv unpacked, and make its RECORD say so."""
    record = next(module.parent.parent.glob("*.dist-info/RECORD"))
    before, after = module.read_bytes(), module.read_bytes() + b"# POISON\n"
    module.unlink()
    module.write_bytes(after)
    text = record.read_text()
    spelled = [
        base64.urlsafe_b64encode(hashlib.sha256(each).digest()).rstrip(b"=").decode() for each in (before, after)
    ]
    text = text.replace(f"{spelled[0]},{len(before)}", f"{spelled[1]},{len(after)}")
    record.unlink()
    record.write_text(text)


def test_no_address_is_an_option_or_a_command(ground: Ground, tmp_path: Path, figure: Any) -> None:
    ran = tmp_path / "ran"
    repository = kit.git_repository(kit.project(tmp_path / "plain", "plain"))
    run = f"touch {ran}"
    urls = [
        f"ext::{run}",
        f"ext::sh -c '{run}'",
        f"ext::sh%20-c%20'{run}'",
        f"--upload-pack={run}",
        f"-u{run}",
        f"-oProxyCommand={run}",
        f"ssh://-oProxyCommand={run.replace(' ', '%20')}/x",
        f"ssh://-oProxyCommand=x@h/{run}",
        f"git@-oProxyCommand={run}:x",
        f"file://{repository.folder}\\n--upload-pack={run}",
        "fd::17",
        "transport::address",
        f"https://h/x\\n{run}",
        "../plain",
        "http:///x",
    ]
    refs = [
        f"--output={ran}",
        "-x",
        f"--upload-pack={run}",
        "main:refs/heads/x",
        "a..b",
        "main^{/x}",
        "$(touch x)",
        "@{0}",
    ]
    folders = ["../..", "/etc", "a/../../..", "a/../../b", "..\\\\.."]
    violations = []
    entries = [("url", text, f"url: {json.dumps(text)}") for text in urls]
    good = f"url: {repository.url}"
    entries += [("ref", text, f"{good}, ref: {json.dumps(text)}") for text in refs]
    entries += [("subdirectory", text, f"{good}, subdirectory: {json.dumps(text)}") for text in folders]
    for key, text, entry in entries:
        ground.renew()
        ended = ground.build(f"plugins:\n  - {{name: plain, source: git, {entry}}}\n")
        if ended.code != 1 or "Traceback" in ended.stderr or "error:" not in ended.stderr or ran.exists():
            violations.append(f"{key} {text}: {ended.code} {ended.stderr[-300:]} {ran.exists()}")
    ground.renew()
    ended = ground.build(f"plugins:\n  - {{name: plain, source: git, url: '{repository.url}'}}\n")
    if ended.code:
        violations.append(f"file: is refused: {ended.stderr}")
    figure("S12", "URLs, refs and folders that are no such", count=len(entries), wanted=25, violations=violations)


def test_a_repository_runs_nothing_and_leads_nowhere(ground: Ground, tmp_path: Path, figure: Any) -> None:
    ran, secret = tmp_path / "ran", tmp_path / "secret"
    kit.project(secret, "secret")
    run = f"#!/bin/sh\ntouch {ran}\n"
    hooks = {f"{folder}/{name}": run for folder in ("hooks", ".git-hooks") for name in ("post-checkout", "post-merge")}
    filters = {
        ".gitattributes": "* filter=evil\n*.bin filter=lfs\n",
        ".gitconfig": f'[filter "evil"]\n\tsmudge = touch {ran}\n',
        ".lfsconfig": f"[lfs]\n\turl = ext::touch {ran}\n",
        "x.bin": "version https://git-lfs.example/spec/v1\n",
    }
    violations, count = [], 0

    def build(name: str, files: Mapping[str, str], more: Any = None, entry: str = "", *, code: int = 0) -> None:
        nonlocal count
        count += 1
        repository = kit.git_repository(kit.project(tmp_path / name, name))
        repository.commit(files)
        if more:
            more(repository)
        ground.renew()
        ended = ground.build(f"plugins:\n  - {{name: {name}, source: git, url: '{repository.url}'{entry}}}\n")
        if ended.code != code or "Traceback" in ended.stderr or ran.exists():
            violations.append(f"{name}: {ended.code} {ended.stderr[-300:]} ran: {ran.exists()}")

    def submodule(url: str, path: str) -> Any:
        def add(repository: kit.Repository) -> None:
            head = repository.head
            told = f'[submodule "s"]\n\tpath = {path}\n\turl = {url}\n\tupdate = !touch {ran}\n'
            repository.write({".gitmodules": told})
            repository.git("add", ".gitmodules")
            repository.git("update-index", "--add", "--cacheinfo", f"160000,{head},{path}")
            repository.git("commit", "--quiet", "--message", "a submodule")

        return add

    def link(repository: kit.Repository) -> None:
        os.symlink(secret, repository.folder / "out")
        repository.commit()

    build("hooked", hooks)
    build("filtered", filters)
    build("linked", {}, link, ", subdirectory: out", code=1)
    build("exted", {}, submodule(f"ext::touch {ran}", "sub"), code=1)
    build("dashed", {}, submodule(f"--upload-pack=touch {ran}", "sub"), code=1)
    build("optional", {}, submodule("https://127.0.0.1:9/x", "-sub"), code=1)
    served = kit.git_repository(kit.project(tmp_path / "served", "served"))
    submodule(secret.as_uri(), "sub")(served)
    with kit.git_http(served) as server:
        ground.renew()
        count += 1
        ended = ground.build(f"plugins:\n  - {{name: served, source: git, url: '{server.with_credentials}'}}\n")
        if ended.code != 1:
            violations.append(f"a repository of a server reads this machine's files: {ended.stderr}")
    figure(
        "S12", "repositories with hooks, filters, submodules and links", count=count, wanted=7, violations=violations
    )
