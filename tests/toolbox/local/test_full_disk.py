"""A disk that is full, without inodes or read-only: said in these words, and healed once it is over."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from mesh import disk
from tests.support.nats_versions import EACH_NATS, NEWEST, nats_version
from tests.support.small_disk import run_on_small_disk

__all__ = ["nats_version"]


class TestStores:
    pytestmark = EACH_NATS

    def test_our_own_stores_say_disk_full_and_heal_within_ten_seconds_of_its_end(
        self, tmp_path: Path, nats_version: str
    ) -> None:
        found = json.loads(run_on_small_disk(tmp_path, 48, "tests.support.full_disk").splitlines()[-1])
        assert found["healed_after_s"] < 10.0
        if nats_version == NEWEST:
            assert found["restarts"] >= 1, "nats-server 2.15 keeps a write error until it is restarted"
            assert found["reason"].startswith("disk full: "), found
            assert datetime.datetime.fromisoformat(found["restarted_at"]).tzinfo == datetime.UTC


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("write /x/1.blk: no space left on device", "disk full"),
        ("MISCONF Errors writing to the AOF file: No space left on device", "disk full"),
        ("write /x/1.blk: disk quota exceeded", "disk full"),
        ("open /x/2.blk: read-only file system", "read-only disk"),
        ("accept4: too many open files", "out of files"),
        ("command not allowed when used memory > 'maxmemory'. script: on @user_script:4.", "out of memory"),
        ("maximum bytes exceeded", ""),
    ],
)
def test_the_words_for_what_a_store_says(text: str, words: str) -> None:
    assert disk.problem_in(text) == words


def test_a_disk_with_room_is_no_problem(tmp_path: Path) -> None:
    assert disk.problem(tmp_path) == ""
    assert disk.problem_word(None) == ""
    assert disk.problem(tmp_path / "gone").startswith("disk error: ")
