"""Keys of caches: what is signed holds, everything else does not, and nothing of it is ever a traceback."""

from __future__ import annotations

import base64
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder import keys
from envbuilder.errors import CacheError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "cache.example.org-1"
DOCUMENT = {"format": 1, "kind": "package", "key": "0123-demo-1.0", "text": "ä\n", "list": [1, {"b": None, "a": True}]}


def put(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[keys.SecretKey, keys.PublicKey]:
    secret, public = keys.generate(NAME)
    return keys.read_secret(put(tmp_path / "key", f"{secret}\n")), keys.parse_public(public)


def test_what_is_signed_holds_whatever_the_order_of_its_members(
    pair: tuple[keys.SecretKey, keys.PublicKey],
) -> None:
    secret, public = pair
    signed = secret.sign(DOCUMENT)

    assert "signatures" not in DOCUMENT
    assert secret.public == public
    assert keys.is_signed(signed, [public]) == NAME
    assert keys.is_signed(dict(reversed(signed.items())), [public]) == NAME


def test_a_second_signature_stands_beside_the_first_and_an_own_one_in_place_of_the_old(
    pair: tuple[keys.SecretKey, keys.PublicKey], tmp_path: Path
) -> None:
    secret, public = pair
    text, other = keys.generate("other")
    both = keys.read_secret(put(tmp_path / "other", text)).sign(secret.sign(DOCUMENT))

    assert [each.partition(":")[0] for each in both["signatures"]] == [NAME, "other"]
    assert keys.is_signed(both, [keys.parse_public(other)]) == "other"
    assert keys.is_signed(both, [public]) == NAME
    assert len(secret.sign(both)["signatures"]) == 2


@pytest.mark.parametrize("member", sorted(DOCUMENT))
def test_no_member_may_change(pair: tuple[keys.SecretKey, keys.PublicKey], member: str) -> None:
    secret, public = pair
    signed = secret.sign(DOCUMENT)

    assert keys.is_signed({**signed, member: "another"}, [public]) is None
    assert keys.is_signed({name: value for name, value in signed.items() if name != member}, [public]) is None
    assert keys.is_signed({**signed, "new": 1}, [public]) is None


def test_a_key_of_the_same_name_does_not_do(pair: tuple[keys.SecretKey, keys.PublicKey]) -> None:
    secret, _ = pair
    _, forged = keys.generate(NAME)
    assert keys.is_signed(secret.sign(DOCUMENT), [keys.parse_public(forged)]) is None


def test_the_same_key_under_another_name_does_not_do(pair: tuple[keys.SecretKey, keys.PublicKey]) -> None:
    secret, public = pair
    assert keys.is_signed(secret.sign(DOCUMENT), [public._replace(name="another")]) is None


def test_who_trusts_nobody_trusts_nothing(pair: tuple[keys.SecretKey, keys.PublicKey]) -> None:
    assert keys.is_signed(pair[0].sign(DOCUMENT), []) is None


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(signatures=json, document=json)
def test_whatever_stands_for_signatures_is_no_signature(signatures: Any, document: Any) -> None:
    public = keys.PublicKey(NAME, bytes(32))
    assert keys.is_signed({**DOCUMENT, "signatures": signatures}, [public]) is None
    assert keys.is_signed(document, [public]) is None


@pytest.mark.parametrize(
    "forged",
    [
        f"{NAME}:",
        f"{NAME}:====",
        f"{NAME}:{'A' * 86}==",
        f"{NAME}:{'A' * 44}",
        f"{NAME}:ä",
        f"{NAME}:{base64.b64encode(bytes(65)).decode()}",
        "\0",
    ],
)
def test_a_malformed_signature_is_none_and_hides_no_good_one(
    pair: tuple[keys.SecretKey, keys.PublicKey], forged: str
) -> None:
    secret, public = pair
    good = secret.sign(DOCUMENT)

    assert keys.is_signed({**DOCUMENT, "signatures": [forged]}, [public]) is None
    assert keys.is_signed({**good, "signatures": [forged, *good["signatures"]]}, [public]) == NAME


def test_what_is_no_plain_data_or_too_deep_is_not_signed(pair: tuple[keys.SecretKey, keys.PublicKey]) -> None:
    secret, public = pair
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    signature = secret.sign(DOCUMENT)["signatures"]

    for odd in (deep, float("nan"), object()):
        assert keys.is_signed({"odd": odd, "signatures": signature}, [public]) is None


def test_the_signature_of_a_point_of_small_order_holds_nothing() -> None:
    weak = keys.PublicKey(NAME, bytes(32))
    empty = f"{NAME}:{base64.b64encode(bytes([1]) + bytes(63)).decode()}"
    assert keys.is_signed({**DOCUMENT, "signatures": [empty]}, [weak]) is None


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o601, 0o666])
def test_a_secret_key_that_others_may_get_at_is_refused(tmp_path: Path, mode: int) -> None:
    secret, _ = keys.generate(NAME)
    path = put(tmp_path / "key", secret, mode)

    with pytest.raises(CacheError, match=rf"mode {mode:04o}") as refused:
        keys.read_secret(path)
    assert secret.partition(":")[2] not in f"{refused.value} {refused.value.hint}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_key_of_another_user_is_refused_to_root_too(tmp_path: Path) -> None:
    path = put(tmp_path / "key", keys.generate(NAME)[0])
    os.chown(path, 65534, 65534)
    with pytest.raises(CacheError, match="belongs to another user"):
        keys.read_secret(path)


@pytest.mark.parametrize(
    "text", ["", "name", "name:", f"name:{'A' * 40}", f":{'A' * 43}=", f"a b:{'A' * 43}=", f"name:{'A' * 43}B="]
)
def test_what_is_no_key_is_told_without_quoting_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(CacheError, match="holds no secret key of the form name:base64") as refused:
        keys.read_secret(put(tmp_path / "key", text))
    assert "AAAA" not in str(refused.value)
    with pytest.raises(ValueError, match="no key of the form name:base64"):
        keys.parse_public(text)


def test_two_spellings_are_not_one_key() -> None:
    _, public = keys.generate(NAME)
    at = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = public[-2]
    with pytest.raises(ValueError, match="no key"):
        keys.parse_public(f"{public[:-2]}{at[at.index(last) + 1]}=")


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "large", "binary"])
def test_what_is_no_file_of_a_key_is_told_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    make = {
        "missing": lambda: None,
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path, 0o600),
        "large": lambda: put(path, "x" * 5000),
        "binary": lambda: path.write_bytes(b"\xff\xfe"),
    }
    make[kind]()
    if kind == "binary":
        path.chmod(0o600)
    with pytest.raises(CacheError, match="secret key"):
        keys.read_secret(str(path))


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "-a", "a\n", "\x1b[31m", "x" * 200])
def test_what_is_no_name_of_a_key_gets_none(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a key") as refused:
        keys.generate(name)
    assert str(refused.value).isprintable()


def test_keys_are_new_each_time_and_show_no_secret(tmp_path: Path) -> None:
    secret, public = keys.generate(NAME)
    read = keys.read_secret(put(tmp_path / "key", secret))

    assert keys.generate(NAME)[0] != secret
    assert str(read.public) == str(keys.parse_public(public)) == public
    assert secret.partition(":")[2] not in repr(read)


def test_what_is_not_installed_is_named(
    pair: tuple[keys.SecretKey, keys.PublicKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = pair[0].sign(DOCUMENT)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    for call in (lambda: keys.generate(NAME), lambda: keys.is_signed(signed, [pair[1]])):
        with pytest.raises(CacheError, match=r"`cryptography.*` is not installed") as refused:
            call()
        assert "vpm-env[cache]" in (refused.value.hint or "")
    assert keys.is_signed(DOCUMENT, [pair[1]]) is None
