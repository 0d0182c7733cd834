"""A file that an index serves, read in pieces: with the credentials that uv would find, told to no other host."""

from __future__ import annotations

import base64
import errno
from os.path import join
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from envbuilder import indexes
from envbuilder.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse

    from envbuilder.uv import Uv

SECONDS = 20.0
"""How long an index may take to answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """Where a file is, and what to say to be let in."""

    url: str
    headers: dict[str, str]
    certificates: str | None

    def ask(self, piece: str) -> HTTPResponse:
        """Ask for a piece (`0-99`, or `-100` for the last ones); raise `OSError` and what `http.client` raises.

        The status is 206, or 200 where the index gives whole files alone.
        """
        import ssl
        from urllib.request import HTTPSHandler, Request, build_opener  # most builds fetch nothing

        context = ssl.create_default_context(cafile=self.certificates)
        opener = build_opener(HTTPSHandler(context=context), _redirecting())
        headers = {**self.headers, "Range": f"bytes={piece}", "Accept-Encoding": "identity"}
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise OSError(errno.EPROTONOSUPPORT, "no index serves this", self.url)
        answer: HTTPResponse = opener.open(Request(self.url, headers=headers), timeout=SECONDS)  # noqa: S310
        return answer


def served(url: str, plugin: str, uv: Uv) -> Served:
    """Find out how a file of a lock is asked for; `url` is filled in, `plugin` the entry that it is for."""
    user, password = _login(url, plugin, uv)
    secret = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Served(
        url=indexes.without_credentials(url),
        headers={"Authorization": f"Basic {secret}"} if user or password else {},
        certificates=uv.variables.get("SSL_CERT_FILE") or None,
    )


def _redirecting() -> Any:
    from urllib.request import HTTPRedirectHandler

    class Redirecting(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            made = super().redirect_request(req, fp, code, msg, headers, newurl)
            if made is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
                made.remove_header("Authorization")
            return made

    return Redirecting()


def _login(url: str, plugin: str, uv: Uv) -> tuple[str, str]:
    """Find what uv would find: in the URL, in an index's on the same host, in netrc."""
    variables = uv.for_plugin(plugin).variables
    host = urlsplit(indexes.without_credentials(url))[:2]
    for known in (url, *_known(variables)):
        if any(indexes.credentials(known)) and urlsplit(indexes.without_credentials(known))[:2] == host:
            return indexes.credentials(known)
    own = uv.plugin_indexes.get(plugin)
    if own and urlsplit(own.url)[:2] == host:
        stem = f"UV_INDEX_{own.name.upper().replace('-', '_')}"
        return variables.get(f"{stem}_USERNAME", ""), variables.get(f"{stem}_PASSWORD", "")
    return _of_netrc(urlsplit(url).hostname or "", variables)


def _known(variables: Mapping[str, str]) -> Iterator[str]:
    """Name the URLs of indexes and links; an index may have a name: `NAME=URL`."""
    for name in (*indexes.VARIABLES, indexes.LINKS):
        for word in variables.get(name, "").split():
            yield word.partition("=")[2] if "=" in word.partition("://")[0] else word


def _of_netrc(host: str, variables: Mapping[str, str]) -> tuple[str, str]:
    from netrc import NetrcParseError, netrc

    try:
        path = variables.get("NETRC") or join(variables.get("HOME", "/"), ".netrc")
        user, _, password = netrc(path).authenticators(host) or ("", "", "")
    except (OSError, NetrcParseError):
        return "", ""
    return user or "", password or ""
