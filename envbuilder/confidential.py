"""What of a command's words and variables must not be shown: told by the names that people give to secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHORTEST = 6
"""Characters: shorter values stand in too many other words, and strike out what is no secret."""
_ANYWHERE = frozenset({"KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS"})
_ENDS = ("KEY", "KEYS", "TOKEN", "SECRET", "SECRETS", "PASSWORD", "PASSWORDS", "PASSWD", "PASSPHRASE", "CREDENTIAL")


def secrets_of(command: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Return the values of a command's options and of variables whose names say that they are secret."""
    named = [*variables.items(), *options_of(command)]
    return [value for name, value in named if len(value) >= _SHORTEST and is_secret(name, value)]


def is_secret(name: str, value: str) -> bool:
    """Tell whether a variable or an option holds a secret; numbers of tokens are none."""
    words = name.upper().replace("-", "_").split("_")
    if "TOKENS" in words:
        return not value.isdigit()
    return not _ANYWHERE.isdisjoint(words) or any(word.endswith(_ENDS) for word in words)


def options_of(command: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of every long option: `--name=value`, or `--name value`."""
    for at, word in enumerate(command):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            yield name, value if equals else "".join(command[at + 1 : at + 2])
