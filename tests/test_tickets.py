"""What stands for a lock where a file system has none: who is in whose way, and whose ticket counts no more."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from envbuilder import tickets


def put(path: Path, *, is_shared: bool, world: str = "", pid: int = 0) -> Path:
    """Put a ticket down; `world` and `pid` are those of another process."""
    name = Path(tickets.new(str(path), is_shared=is_shared))
    mode, own_world, own_pid, start, rest = name.name.split("-")
    ticket = name.with_name(f"{mode}-{world or own_world}-{pid or own_pid}-{start}-{rest}")
    ticket.parent.mkdir(exist_ok=True)
    ticket.touch()
    return ticket


@pytest.mark.parametrize(
    ("first", "second", "is_in_the_way"), [(True, True, False), (True, False, True), (False, True, True)]
)
def test_only_those_who_share_are_not_in_each_others_way(
    tmp_path: Path, first: bool, second: bool, is_in_the_way: bool
) -> None:
    one, other = put(tmp_path / "lock", is_shared=first), put(tmp_path / "lock", is_shared=second)
    assert tickets.others(str(one)) == tickets.others(str(other)) == (is_in_the_way, [])
    assert tickets.is_drawn(str(tmp_path / "lock"))


def test_what_a_dead_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    dead = put(tmp_path / "lock", is_shared=False, pid=2**22 + 1)
    assert tickets.others(str(put(tmp_path / "lock", is_shared=False))) == (False, [str(dead)])


def test_a_ticket_from_elsewhere_counts_for_an_hour(tmp_path: Path) -> None:
    other = put(tmp_path / "lock", is_shared=False, world="0123456789ab")
    own = put(tmp_path / "lock", is_shared=False)
    assert tickets.others(str(own)) == (True, [])
    long_ago = time.time() - 3700
    os.utime(other, (long_ago, long_ago))
    assert tickets.others(str(own)) == (False, [str(other)])
