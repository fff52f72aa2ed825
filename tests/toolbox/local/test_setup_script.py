"""`./grandstand` sets up once, quickly finds that it did, and takes its failures back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.fresh_checkout import Finished, FreshCheckout


@pytest.fixture
def fresh(tmp_path: Path) -> FreshCheckout:
    return FreshCheckout(tmp_path)


def test_a_first_start_sets_up_and_hands_over_arguments_folder_and_exit_code(
    fresh: FreshCheckout, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    done = fresh.run("up", "two words", "", "fail", folder=folder)
    assert done.status == 7, done.err
    assert done.echoed == {
        "arguments": ["up", "two words", "", "fail"],
        "folder": str(folder),
        "packages": ["tiny_runtime"],
    }
    assert "setting up" in done.err
    assert fresh.left_over() == []


def test_a_second_start_does_nothing_and_needs_no_network(fresh: FreshCheckout) -> None:
    fresh.run("up")
    shutil.rmtree(fresh.wheels)
    again = fresh.run("up")
    assert (again.status, again.err) == (0, "")
    assert again.echoed["packages"] == ["tiny_runtime"]


def test_it_is_found_through_symbolic_links(fresh: FreshCheckout, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "second").symlink_to("../a check out/grandstand")
    (folder / "first").symlink_to(folder / "second")
    assert fresh.run("status", script=folder / "first").status == 0
    assert (fresh.root / ".venv").is_dir()


def test_a_checkout_may_move_once_it_is_set_up(fresh: FreshCheckout) -> None:
    fresh.run("up")
    shutil.rmtree(fresh.wheels)
    fresh.root = fresh.root.rename(fresh.root.with_name("moved"))
    again = fresh.run("up")
    assert (again.status, again.err) == (0, "")


def test_nothing_in_the_current_folder_or_pythonpath_is_taken_for_a_module(
    fresh: FreshCheckout, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    for name in ("mesh", "toolbox"):
        (trap / name).mkdir(parents=True)
        (trap / name / "__init__.py").write_text(f"raise SystemExit('the wrong {name}')")
    (trap / "json.py").write_text("raise SystemExit('the wrong json')")
    assert fresh.run("up", folder=trap, PYTHONPATH=str(trap)).status == 0


def test_a_changed_lock_is_installed_anew(fresh: FreshCheckout) -> None:
    fresh.run("up")
    fresh.lock("requirements.lock", "tiny_other")
    assert fresh.run("up").echoed["packages"] == ["tiny_other"]


def test_two_first_starts_at_once_wait_for_each_other(fresh: FreshCheckout) -> None:
    both = [fresh.start("up"), fresh.start("up")]
    ended = [Finished(process) for process in both]
    assert [done.status for done in ended] == [0, 0], [done.err for done in ended]
    assert sum("setting up" in done.err for done in ended) == 1
    assert fresh.left_over() == []


def test_a_failed_set_up_says_why_in_one_line_and_leaves_nothing(fresh: FreshCheckout) -> None:
    hidden = fresh.wheels.rename(fresh.wheels.with_name("hidden"))
    fresh.wheels.mkdir()
    failed = fresh.run("up")
    assert failed.status == 1
    assert "set-up failed: " in failed.last_line
    assert "tiny_runtime" in failed.last_line
    assert not (fresh.root / ".venv").exists()
    assert fresh.left_over() == []
    fresh.wheels.rmdir()
    hidden.rename(fresh.wheels)
    assert fresh.run("up").status == 0


def test_a_package_that_differs_from_the_lock_is_refused(fresh: FreshCheckout) -> None:
    lock = fresh.root / "requirements.lock"
    lock.write_text(lock.read_text().replace("sha256:", "sha256:0000")[:-5] + "\n")
    failed = fresh.run("up")
    assert failed.status == 1
    assert "differs from the digest in the lock" in failed.last_line
    assert not (fresh.root / ".venv").exists()


def test_a_set_up_that_fails_to_renew_puts_the_old_one_back(fresh: FreshCheckout) -> None:
    fresh.run("up")
    lock = fresh.root / "requirements.lock"
    kept = lock.read_text()
    lock.write_text(kept.replace("tiny_runtime", "tiny_missing"))
    assert fresh.run("up").status == 1
    lock.write_text(kept)
    again = fresh.run("up")
    assert (again.status, again.err) == (0, "")


def test_a_half_made_venv_is_made_anew(fresh: FreshCheckout) -> None:
    """As a set-up leaves it that was killed: no stamp, and scraps of its own."""
    (fresh.root / ".venv" / "bin").mkdir(parents=True)
    (fresh.root / ".grandstand" / "setup-abcdef").mkdir(parents=True)
    assert fresh.run("up").status == 0
    assert fresh.left_over() == []


def test_only_test_needs_the_developers_packages(fresh: FreshCheckout) -> None:
    (fresh.wheels / "tiny_dev-1.0-py3-none-any.whl").rename(fresh.root / "kept.whl")
    assert fresh.run("up").echoed["packages"] == ["tiny_runtime"]
    failed = fresh.run("test")
    assert failed.status == 1
    assert "tiny_dev" in failed.last_line
    again = fresh.run("up")
    assert (again.status, again.err) == (0, ""), "a failed `test` must not cost the set-up of `up`"
    (fresh.root / "kept.whl").rename(fresh.wheels / "tiny_dev-1.0-py3-none-any.whl")
    assert fresh.run("test").echoed["packages"] == ["tiny_dev", "tiny_runtime"]
    assert fresh.run("test").err == ""


def test_one_set_up_serves_both_when_test_comes_first(fresh: FreshCheckout) -> None:
    assert fresh.run("test").echoed["packages"] == ["tiny_dev", "tiny_runtime"]
    again = fresh.run("up")
    assert (again.status, again.err) == (0, "")


def test_a_python_that_is_too_old_is_named(fresh: FreshCheckout, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit\nexit 1\n')
    old.chmod(0o755)
    failed = fresh.run("up", GRANDSTAND_PYTHON=str(old))
    assert failed.status == 1
    assert "Python 3.11 or newer is needed, and Python 3.9.2 is here" in failed.last_line


def test_a_full_disk_is_told_before_anything_is_made(fresh: FreshCheckout, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "df").write_text("#!/bin/sh\necho head\necho disk 100 90 20480 90% /\n")
    (folder / "df").chmod(0o755)
    failed = fresh.run("up", PATH=f"{folder}:{os.environ['PATH']}")
    assert failed.status == 1
    assert "needs 400 MB" in failed.last_line
    assert "20 MB are free" in failed.last_line
    assert not (fresh.root / ".venv").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_checkout_that_cannot_be_written_is_named(fresh: FreshCheckout) -> None:
    fresh.root.chmod(0o555)
    try:
        failed = fresh.run("up")
    finally:
        fresh.root.chmod(0o755)
    assert failed.status == 1
    assert str(fresh.root) in failed.last_line
