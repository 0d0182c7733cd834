"""A cache that is asked over the network: a web server, or a store that speaks S3; obstore stands behind it.

What obstore says quotes URLs, credentials and whatever the other side answers; of all that, only what this room knows
to say is told.
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Any

from envbuilder.downloads import Piece
from envbuilder.errands import heeding_signals
from envbuilder.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from datetime import timedelta
    from typing import TypeVar

    Had = TypeVar("Had")

_BLOCK = 1
"""Bytes that obstore gathers at least before it hands them over; what it has gathered when it fails is lost."""
_AT_ONCE = 32 << 20
"""Bytes of a file that is sent from memory; of a larger one a piece at a time."""
_SETTINGS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
    "AWS_SKIP_SIGNATURE", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_METADATA_ENDPOINT",
    "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_REQUEST_PAYER", "AWS_SERVER_SIDE_ENCRYPTION", "AWS_SSE_KMS_KEY_ID",
)  # fmt: skip
"""Variables that have the same meaning for obstore as for everybody else."""
_ONCE: Any = {"max_retries": 0}
"""obstore tries once: who asks knows what to go on with."""
_STATUS = re.compile(r"status code: (\d{3})")
_WORDS = (
    ("dns error", "its host is not found"),
    ("InvalidCertificate", "its certificate is not trusted"),
    ("Connection refused", "nobody listens there"),
    ("kind: Timeout", "says nothing for {seconds:g} s"),
    ("kind: Connect", "cannot be reached"),
    ("kind: Interrupted", "the connection broke off"),
    ("kind: Body", "the connection broke off"),
    ("kind: Request", "the connection broke off"),
    ("MissingContentLength", "does not say how long its answer is"),
)
"""What stands in obstore's words, and what it means; the first that fits."""
_FOR_GOOD = ("InvalidCertificate", "MissingContentLength")
_OF_CREDENTIALS = re.compile(r"/latest/(?:api/token|meta-data)|AssumeRole")
"""What is said where obstore looked for credentials, the machine's own among them, and found none."""
_UNKNOWN = "no credentials for it are found"
_FORBIDDEN = "is forbidden: credentials are lacking, or are not good for it"


class Remote:
    """What a server has, through one of obstore's stores; every refusal is a `CacheError`."""

    def __init__(self, store: Any, *, shown: str, seconds: float, hint: str, authority: str | None) -> None:
        """Take a store; `hint` says how its credentials are given, `authority` is a file of certificates."""
        self._store = store
        self._seconds = seconds
        self._hint = hint
        self._authority = authority
        self.shown = shown

    def piece(self, path: str, start: int) -> Piece | None:
        """Open a file from a byte on, or from the first one where no parts are given; None where there is none."""
        answer = self._answer(path, start)
        if answer is None:
            return None
        begin, _ = answer.range
        return Piece(answer.meta["size"], begin, self._blocks(answer, path))

    def tagged(self, path: str, limit: int) -> tuple[bytes, str] | None:
        """Read a small file with the server's tag of it; more than `limit` bytes are one byte too many."""

        def read() -> tuple[bytes, str] | None:
            answer = self._answer(path, 0)
            if answer is None:
                return None
            size, tag = answer.meta["size"], answer.meta["e_tag"] or ""
            if size <= limit:
                return bytes(self._done(path, answer.bytes) or b""), tag
            return Piece(size, 0, self._blocks(answer, path)).up_to(limit), tag

        return heeding_signals(read)

    def swap(self, path: str, content: bytes, tag: str | None) -> bool:
        """Put a file if it has this tag, or where there is none; tell whether it had."""
        return self._put(path, content, "create" if tag is None else {"e_tag": tag})

    def create(self, path: str, content: bytes | str) -> bool:
        """Put a file, from bytes or another file, where there is none; tell whether there was none."""
        if isinstance(content, bytes):
            return self._put(path, content, "create")
        with open(content, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            return self._put(path, stream.read(), "create") if size <= _AT_ONCE else self._send(path, stream, size)

    def names(self, folder: str) -> list[str]:
        """Name what is in a folder; nothing where there is none."""
        import obstore

        found = self._done(folder, lambda: obstore.list_with_delimiter(self._store, folder)["objects"])
        return sorted(each["path"].rsplit("/", 1)[-1] for each in found or ())

    def _answer(self, path: str, start: int) -> Any:
        import obstore
        from obstore.exceptions import NotSupportedError

        if start:
            try:
                options: Any = {"range": {"offset": start}}
                return self._done(path, lambda: obstore.get(self._store, path, options=options))
            except NotSupportedError:
                pass  # it gives whole files only
        return self._done(path, lambda: obstore.get(self._store, path))

    def _blocks(self, answer: Any, path: str) -> Generator[bytes]:
        stream = iter(answer.stream(min_chunk_size=_BLOCK))
        while (block := self._done(path, lambda: next(stream, b""))) is not None and len(block):
            yield bytes(block)

    def _put(self, path: str, content: bytes, mode: Any) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            if self._done(path, lambda: obstore.put(self._store, path, content, mode=mode)) is None:
                raise self._error("is not there")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def _send(self, path: str, stream: Any, size: int) -> bool:
        """Send a large file a piece at a time, where there is none: obstore would read the whole of it first."""
        import ssl
        from http.client import HTTPException
        from urllib.error import HTTPError
        from urllib.request import Request, urlopen

        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream", "If-None-Match": "*"}
        request = Request(self._signed(path), data=stream, method="PUT", headers=headers)  # noqa: S310 (signed here)
        context = ssl.create_default_context(cafile=self._authority)
        try:
            with urlopen(request, timeout=self._seconds, context=context):  # noqa: S310 (the same)
                return True
        except HTTPError as error:
            error.close()
            if error.code == 412:
                return False
            raise self._of_status(error.code, path) from None
        except (HTTPException, OSError) as error:
            raise self._error(f"`{path}` was not taken: {type(error).__name__}", is_passing=True) from None

    def _signed(self, path: str) -> str:
        from datetime import timedelta

        import obstore

        return str(self._done(path, lambda: obstore.sign(self._store, "PUT", path, timedelta(hours=12))))

    def _done(self, path: str, call: Callable[[], Had]) -> Had | None:
        """Call obstore: None for what is not there; what says that a condition does not hold is passed on."""
        from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError

        try:
            return heeding_signals(call)
        except (AlreadyExistsError, NotSupportedError, PreconditionError):
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._error("there is no such bucket") from None
            return None
        except (BaseError, OSError, ValueError) as error:
            raise self._meant(str(error), path) from None

    def _meant(self, text: str, path: str) -> CacheError:
        """Say what obstore's words mean, and quote none of them."""
        if "NoSuchBucket" in text:
            return self._error("there is no such bucket")
        if _OF_CREDENTIALS.search(text):
            return self._error(_UNKNOWN, hint=self._hint)
        if status := _STATUS.search(text):
            return self._of_status(int(status[1]), path)
        for sign, words in _WORDS:
            if sign in text:
                return self._error(words.format(seconds=self._seconds), is_passing=sign not in _FOR_GOOD)
        return self._error(f"`{path}` cannot be had")

    def _of_status(self, status: int, path: str) -> CacheError:
        from http.client import responses

        if status in (401, 403):
            return self._error(f"`{path}` {_FORBIDDEN} ({status})", hint=self._hint)
        text = f"answers {status} ({responses.get(status, 'unknown').lower()}) for `{path}`"
        return self._error(text, is_passing=status >= 500 or status in (408, 409, 425, 429))

    def _error(self, reason: str, *, hint: str | None = None, is_passing: bool = False) -> CacheError:
        return CacheError(url=self.shown, reason=reason, hint=hint, is_passing=is_passing)


def web(url: str, shown: str, login: tuple[str, str], env: Mapping[str, str], seconds: float) -> Remote:
    """Ask a web server; `url` is without the credentials, which are in `login`."""
    from obstore.store import HTTPStore

    options = _options(env, seconds, is_clear=url.startswith("http:"))
    if any(login):
        secret = base64.b64encode(":".join(login).encode()).decode()
        options["default_headers"] = {"Authorization": f"Basic {secret}"}
    hint = "credentials are given in the URL: `https://user:password@host/path`"
    store = _made(lambda: HTTPStore(url, client_options=options, retry_config=_ONCE), shown, hint)
    return Remote(store, shown=shown, seconds=seconds, hint=hint, authority=_authority(env))


def s3(bucket: str, prefix: str, shown: str, env: Mapping[str, str], seconds: float) -> Remote:
    """Ask a store that speaks S3, with the settings that the `AWS_*` variables hold."""
    from obstore.store import S3Store

    config: Any = {name.lower(): env[name] for name in _SETTINGS if env.get(name)}
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
    if endpoint:
        config["endpoint"] = endpoint
    options = _options(env, seconds, is_clear=endpoint.startswith("http:"))
    config.setdefault("aws_region", env.get("AWS_DEFAULT_REGION") or "us-east-1")
    more: Any = {"prefix": prefix or None, "client_options": options, "retry_config": _ONCE}
    hint = "`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and `AWS_ENDPOINT_URL` say who asks, and where"
    store = _made(lambda: S3Store(bucket, config=config, **more), shown, hint)
    return Remote(store, shown=shown, seconds=seconds, hint=hint, authority=_authority(env))


def _made(make: Callable[[], Had], shown: str, hint: str) -> Had:
    from obstore.exceptions import BaseError

    try:
        return make()
    except (BaseError, ValueError):
        raise CacheError(url=shown, reason="the settings for it do not fit together", hint=hint) from None


def _options(env: Mapping[str, str], seconds: float, *, is_clear: bool) -> Any:
    """Say how to connect: a large file may take as long as it likes, as long as something comes."""
    options: dict[str, Any] = {
        "allow_http": is_clear,
        "connect_timeout": _span(min(seconds, 10.0)),
        "read_timeout": _span(seconds),
        "timeout": _span(30 * 86400.0),
    }
    if authority := _authority(env):
        with open(authority, "rb") as stream:
            options["root_certificate"] = stream.read()
    return options


def _authority(env: Mapping[str, str]) -> str | None:
    return env.get("AWS_CA_BUNDLE") or env.get("SSL_CERT_FILE") or None


def _span(seconds: float) -> timedelta:
    from datetime import timedelta

    return timedelta(seconds=seconds)
