"""The places where a user may put a credential: a config and variables for each, with the canary in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from canaries import CANARY, USER

PAIR = f"{USER}:{CANARY}@"
NAMED = f"{USER}:${{MYTOK}}@"
VALUE = {"MYTOK": CANARY}


@dataclass(frozen=True)
class Place:
    """One place: what the config says, which variables and files of the home there are.

    `files` are below $HOME; `refused` says that the config itself must not be taken. With `gits_own` git passes the
    credential to its own children, as it does without vpm-env.
    """

    name: str
    config: str
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    refused: bool = False
    fails: bool = False
    gits_own: bool = False


def places(host: str) -> list[Place]:
    """List them, for a server at `host`."""
    return [*_of_indexes(host), *_of_settings(host), *_of_git(host), *_of_the_rest(host)]


def demo(index: str = "", extra: str = "") -> str:
    """Write a config that wants `demo`."""
    head = f"index: {index}\n" if index else ""
    return f"{head}plugins:\n  - {{name: demo, source: pypi{extra}}}\n"


def of_git(url: str) -> str:
    """Write a config that wants a plugin of a repository."""
    return f"plugins:\n  - {{name: gitplug, source: git, url: '{url}'}}\n"


def _of_indexes(host: str) -> list[Place]:
    plain = f"http://{PAIR}{host}/simple"
    return [
        Place("index: user info", demo(plain)),
        Place("index: variable", demo(f"http://{NAMED}{host}/simple"), VALUE),
        Place("index: token as user", demo(f"http://{CANARY}@{host}/simple")),
        Place("index: variable in the path", demo(f"http://{host}/${{MYTOK}}/simple"), VALUE),
        Place("index: query", demo(f"http://{host}/simple?token={CANARY}"), refused=True),
        Place("index: fragment", demo(f"'http://{host}/simple#{CANARY}'"), refused=True),
        Place("index: that redirects", demo(f"http://{PAIR}{host}/moved/simple")),
        Place("index: that tells what it got", demo(f"http://{PAIR}{host}/echo/simple"), fails=True),
        Place("index: variable, and it tells", demo(f"http://{NAMED}{host}/echo/simple"), VALUE, fails=True),
        Place("index: no such package", demo(plain).replace("name: demo", "name: demoo"), fails=True),
        Place("find_links: user info", f"find_links: http://{PAIR}{host}/links\n" + demo(plain)),
        Place("find_links: query", f"find_links: http://{host}/links?token={CANARY}\n" + demo(plain), refused=True),
        Place("plugin index: user info", demo(extra=f", index: '{plain}'")),
        Place("plugin index: variable", demo(extra=f", index: 'http://{NAMED}{host}/simple'"), VALUE),
        Place("plugin index: token as user", demo(extra=f", index: 'http://{CANARY}@{host}/simple'")),
        Place("plugin index: query", demo(extra=f", index: 'http://{host}/simple?token={CANARY}'"), refused=True),
    ]


def _of_settings(host: str) -> list[Place]:
    plain, links = f"http://{PAIR}{host}/simple", f"http://{PAIR}{host}/links"
    names = {"UV_INDEX_CORP_USERNAME": USER, "UV_INDEX_CORP_PASSWORD": CANARY}
    query = f"http://{host}/simple?token={CANARY}"
    netrc = f"machine {host.partition(':')[0]} login {USER} password {CANARY}\n"
    return [
        Place("UV_INDEX_URL", demo(), {"UV_INDEX_URL": plain}),
        Place("UV_DEFAULT_INDEX", demo(), {"UV_DEFAULT_INDEX": f"corp={plain}"}),
        Place("UV_INDEX", demo(), {"UV_INDEX": f"corp={plain}"}),
        Place("UV_INDEX_CORP_PASSWORD", demo(), {"UV_INDEX": f"corp=http://{host}/simple", **names}),
        Place("UV_EXTRA_INDEX_URL", demo(), {"UV_EXTRA_INDEX_URL": plain}),
        Place("UV_FIND_LINKS", demo(), {"UV_FIND_LINKS": links, "UV_INDEX_URL": plain}),
        Place("UV_INDEX_URL: query", demo(), {"UV_INDEX_URL": query}, fails=True),
        Place("UV_INDEX_URL: no URL", demo(), {"UV_INDEX_URL": f"http://{USER}:{CANARY}/x@{host}/simple"}, fails=True),
        Place("PIP_INDEX_URL", demo(), {"PIP_INDEX_URL": plain}),
        Place("PIP_EXTRA_INDEX_URL", demo(), {"PIP_EXTRA_INDEX_URL": plain}),
        Place("PIP_INDEX_URL: query", demo(), {"PIP_INDEX_URL": query}, fails=True),
        Place("pip.conf", demo(), files={".config/pip/pip.conf": f"[global]\nindex-url = {plain}\n"}),
        Place("uv.toml", demo(), files={".config/uv/uv.toml": f'index-url = "{plain}"\n'}, fails=True),
        Place("netrc", demo(f"http://{host}/simple"), files={".netrc": netrc}),
        Place("NETRC", demo(f"http://{host}/simple"), {"NETRC": "{home}/elsewhere"}, {"elsewhere": netrc}),
    ]


def _of_git(host: str) -> list[Place]:
    plain, repo = f"http://{PAIR}{host}/repo.git", f"http://{host}/repo.git"
    scheme = f"http://{host}"
    stored = f"[credential]\n\thelper = store --file {{home}}/kept\n[credential '{scheme}']\n".replace("'", '"')
    instead = f'[url "http://{PAIR}{host}/"]\n\tinsteadOf = {scheme}/\n'
    header = f'[http "{scheme}"]\n\textraHeader = Authorization: Bearer {CANARY}\n'
    ssh = {"GIT_SSH_COMMAND": "ssh -o ConnectTimeout=1 -o BatchMode=yes"}
    return [
        Place("git: user info", of_git(plain)),
        Place("git: variable", of_git(f"http://{NAMED}{host}/repo.git"), VALUE),
        Place("git: token as user", of_git(f"http://${{MYTOK}}@{host}/repo.git"), VALUE),
        Place("git: token in the path", of_git(f"{scheme}/${{GIT_TOKEN}}/r.git"), {"GIT_TOKEN": CANARY}, refused=True),
        Place("git: query", of_git(f"{repo}?token={CANARY}"), refused=True),
        Place("git: that tells what it got", of_git(f"http://{PAIR}{host}/echo/repo.git"), fails=True),
        Place("git: no such ref", of_git(plain).replace("}", ", ref: nowhere}"), fails=True),
        Place("git: ssh", of_git(f"ssh://{USER}:{CANARY}@127.0.0.1:9/repo.git"), ssh, fails=True),
        Place("git: credential helper", of_git(repo), files={".gitconfig": stored, "kept": f"http://{PAIR}{host}\n"}),
        Place("git: insteadOf", of_git(repo), files={".gitconfig": instead}, gits_own=True),
        Place(
            "git: insteadOf, and it fails", of_git(f"{scheme}/echo/r"), {}, {".gitconfig": instead}, False, True, True
        ),
        Place("git: http.extraHeader", of_git(repo), files={".gitconfig": header}),
    ]


def _of_the_rest(host: str) -> list[Place]:
    through = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), f"http://{PAIR}{host}")
    closed = dict.fromkeys(("http_proxy", "HTTP_PROXY"), f"http://{PAIR}127.0.0.1:9")
    elsewhere, plain = "http://elsewhere.example", f"http://{PAIR}{host}/simple"
    return [
        Place("proxy: an index behind it", demo(f"{elsewhere}/simple"), through, fails=True),
        Place("proxy: that is down", demo(f"{elsewhere}/simple"), closed, fails=True),
        Place("proxy: a repository behind it", of_git(f"{elsewhere}/repo.git"), closed, fails=True),
        Place("on_build: an option", f"on_build: 'true --token {CANARY}'\n" + demo(plain), refused=True),
        Place("on_build: a variable", f"on_build: 'DEPLOY_TOKEN={CANARY} true'\n" + demo(plain), refused=True),
        Place("on_switch: a header", f"on_switch: 'true \"X: Bearer {CANARY}\"'\n" + demo(plain), refused=True),
        Place("on_switch: a URL", f"on_switch: 'true http://{PAIR}h/'\n" + demo(plain), refused=True),
        Place("variables of others", demo(plain), {"HF_TOKEN": CANARY, "DATABASE_URL": f"pg://{PAIR}db/x"}),
    ]
