"""URLs and paths compared by what they name: scheme, host, port and steps; for rules that allow some of them."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from envbuilder.tuples import NamedTuple

_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}
_SCP_LIKE = re.compile(r"(?:[^\s/:@]+@)?([^\s/:@]+):(?!//)(.*)")


class Address(NamedTuple):
    """What a URL names."""

    scheme: str
    host: str
    port: int | None
    steps: tuple[str, ...]


def covers(prefix: str, url: str) -> bool:
    """Tell whether `url` is `prefix` or lies below it; what can be read in two ways is below nothing."""
    outer, inner = address(prefix), address(url)
    if outer is None or inner is None or outer[:3] != inner[:3]:
        return False
    steps = inner.steps[: len(outer.steps)]
    if steps == outer.steps or not steps:
        return steps == outer.steps
    # `team/plug` means the repository `team/plug.git` too, but nothing below a folder of that name.
    return inner.steps == steps and (*steps[:-1], steps[-1].removesuffix(".git")) == outer.steps


def ends_with(url: str, ending: str) -> bool:
    """Tell whether the path of a URL, or a path, ends with this; query and fragment say nothing."""
    return urlsplit(url).path.lower().endswith(ending)


def address(url: str) -> Address | None:
    """Read a URL, `user@host:path` or an absolute path; None for what is none, or could be taken for another."""
    text = url.removeprefix("git+")
    if re.search(r"[\x00-\x20\x7f\\]|\$\{", text):
        return None
    if text.startswith("/"):
        return _with_steps("file", "", None, text)
    if "://" not in text:
        found = _SCP_LIKE.fullmatch(text)
        return _with_steps("ssh", found[1].lower(), 22, found[2]) if found else None
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    if scheme == "file":
        return _with_steps("file", "", None, parts.path) if host in ("", "localhost") else None
    return _with_steps(scheme, host, port or _PORTS.get(scheme), parts.path) if host else None


def prefix(text: str) -> str:
    """Check what a rule allows: the beginning of URLs, or a folder; raise `ValueError` for what is neither."""
    if "${" in text:
        raise ValueError("holds a `${NAME}`; a rule must not depend on variables")
    if not address(text) or "?" in text or "#" in text:
        raise ValueError("must be the beginning of a URL, such as `https://host/team/`, or an absolute path")
    if "@" in urlsplit(text).netloc:
        raise ValueError("holds a user or a password; a rule is about hosts and paths")
    return text


def _with_steps(scheme: str, host: str, port: int | None, path: str) -> Address | None:
    steps = tuple(unquote(step) for step in path.split("/") if step)
    is_plain = all(step not in (".", "..") and not set(step) & {"/", "%", "\\", "\0"} for step in steps)
    return Address(scheme, host, port, steps) if is_plain else None
