"""The notebook's installation: what it keeps, what it says when that failed; and its commands in a cell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fintunnel_training.colab import commands, drive, install
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.sections import Section

from tests.training.colab_runtime import Colab, on_colab

_TRAINING = Path(__file__).parents[2] / "training"
_posix = pytest.mark.skipif(os.name == "nt", reason="the cells' terminal is Colab's Linux one")


def test_first_sections_need_nothing_but_python() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(_TRAINING)!r}); "
        "from fintunnel_training.colab import install, drive; "
        "print([name for name in sys.modules if name.partition('.')[0] in ('fintunnel', 'pydantic', 'IPython')])"
    )
    command = [sys.executable, "-S", "-E", "-c", code]  # -S: without site-packages
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_sections_are_the_notebooks() -> None:
    source = (_TRAINING.parent / "tools" / "notebook.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\d+)\. (.+)$", source, re.MULTILINE)
    assert [(str(section.number), section.value) for section in Section] == headings
    assert str(Section.TRAIN) == "第 9 节"


class TestConstraints:
    def test_torchs_family_and_what_the_kernel_has_loaded_stay(self) -> None:
        installed = {"torch": "2.9.0+cu126", "numpy": "2.0.2", "pandas": "2.2.2", "pyarrow": "18.1.0"}
        written = install.constraints_of(installed, {"pandas", "not-installed"})
        assert written == "numpy==2.0.2\npandas==2.2.2\ntorch==2.9.0+cu126\n"

    def test_they_are_made_of_this_very_environment(self) -> None:
        loaded = install.loaded_distributions()
        assert "pytest" in loaded
        assert f"pytest=={pytest.__version__}\n" in install.constraints_of(install.installed_versions(), loaded)


class TestChanges:
    def test_what_stayed_is_named(self) -> None:
        said = install.describe_changes({"torch": "2.9.0", "old": "1"}, {"torch": "2.9.0", "old": "2"}, ())
        assert "保持原样：torch 2.9.0" in said

    def test_another_torch_is_reported(self) -> None:
        with pytest.raises(CellError, match=r"torch 2\.9\.0 → 2\.10\.0"):
            install.describe_changes({"torch": "2.9.0"}, {"torch": "2.10.0"}, ())

    def test_stale_package_in_the_kernel_asks_for_a_restart(self) -> None:
        with pytest.raises(CellError, match="还是旧的 pandas：.*重新启动会话"):
            install.describe_changes({"pandas": "1"}, {"pandas": "2"}, {"pandas", "new"})


class TestPip:
    """pip itself stands aside: what it is asked for, and what is made of its failure."""

    @pytest.fixture
    def repository(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.setattr(install, "_at_first", [])  # a new kernel
        (tmp_path / "pyproject.toml").touch()
        return tmp_path

    def test_conflict_is_tried_again_with_torch_alone(self, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
        asked: list[str] = []

        def pip(*arguments: str, shown: str) -> None:
            del shown
            asked.append(Path(arguments[arguments.index("-c") + 1]).read_text(encoding="utf-8"))
            if len(asked) == 1:
                raise CellError("failed", "ERROR: ResolutionImpossible: see …")

        monkeypatch.setattr(install, "_pip", pip)
        install._install(repository)
        assert "pytest==" in asked[0]
        assert "pytest==" not in asked[1]
        assert "torch==" in asked[1]

    def test_other_failure_is_not(self, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
        def pip(*arguments: str, shown: str) -> None:
            del arguments, shown
            raise CellError("no network", "ERROR: Could not connect")

        monkeypatch.setattr(install, "_pip", pip)
        with pytest.raises(CellError, match="no network"):
            install._install(repository)

    @_posix
    def test_index_with_a_password_is_not_shown(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", "http://user:a-password@127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONFIG_FILE", "http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, os.devnull if name == "PIP_CONFIG_FILE" else "")
        with pytest.raises(CellError, match="多半是网络"):
            install._pip("install", "a-package-that-nobody-has", shown="install …")
        shown = capsys.readouterr().out
        assert "a-package-that-nobody-has" in shown  # it was really asked
        assert "a-password" not in shown

    def test_torch_that_changed_is_said_on_every_run_of_this_kernel(
        self, monkeypatch: pytest.MonkeyPatch, repository: Path
    ) -> None:
        versions = install.installed_versions()
        monkeypatch.setattr(install, "_pip", lambda *_, **__: versions.update(torch="another"))
        monkeypatch.setattr(install, "installed_versions", lambda: dict(versions))
        monkeypatch.setattr(install, "_is_installed", lambda _: versions["torch"] == "another")
        for _ in range(2):
            with pytest.raises(CellError, match="→ another"):
                install.install(str(repository))

    def test_folder_without_the_code_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CellError, match="第 1 节"):
            install._install(tmp_path)


@_posix
class TestCommands:
    def test_output_comes_as_at_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        code = (
            "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns > 80); print('中文', end='\\r')"
        )
        commands.run([sys.executable, "-c", code], shown="python …", advice="")
        assert capsys.readouterr().out == "$ python …\nTrue True\n中文\r"

    def test_failure_is_one_line_with_advice(self) -> None:
        with pytest.raises(CellError) as failed:
            commands.run([sys.executable, "-c", "print('why'); raise SystemExit(3)"], shown="…", advice="请再试。")
        assert failed.value._render_traceback_() == ["[错误] 这一步没有成功（退出码 3），原因见上面的输出。请再试。"]
        assert failed.value.output == "why\n"

    def test_fintunnel_is_shown_as_it_is_typed(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(CellError, match="退出码 2"):
            commands.run_fintunnel("dataset", "preview", "no such file", advice="")
        assert capsys.readouterr().out.startswith("$ fintunnel dataset preview 'no such file'\n")

    def test_secrets_go_by_the_environment(self, capsys: pytest.CaptureFixture[str]) -> None:
        code = "import os; print(len(os.environ['HF_TOKEN']))"
        commands.run([sys.executable, "-c", code], shown="…", advice="", environment={"HF_TOKEN": "a-secret"})
        assert capsys.readouterr().out == "$ …\n8\n"

    def test_interrupted_command_is_given_time_to_save(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = (
            "import signal, time\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where tests run in the background
            "try:\n    print('begun', flush=True); time.sleep(60)\n"
            "except KeyboardInterrupt:\n    time.sleep(1.5); print('saved')\n"
        )
        write = commands._write

        def stop_button(text: str) -> None:
            write(text)
            if "begun" in text:
                raise KeyboardInterrupt

        monkeypatch.setattr(commands, "_write", stop_button)
        with pytest.raises(KeyboardInterrupt):
            commands.run([sys.executable, "-c", code], shown="…", advice="")
        assert "saved" in capsys.readouterr().out


class TestDrive:
    def test_outside_colab_nothing_is_mounted(self, capsys: pytest.CaptureFixture[str]) -> None:
        drive.mount()
        assert "不在 Colab" in capsys.readouterr().out

    def test_on_colab_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        colab = on_colab(monkeypatch, Colab())
        drive.mount()
        assert colab.mounted == ["/content/drive"]

    @pytest.mark.parametrize(
        ("fault", "said"),
        [(None, "Drive 已收完"), (ValueError("timed out"), "不能确定 Drive 已收完（timed out）")],
    )
    def test_at_the_end_it_waits_until_drive_has_everything(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        fault: Exception | None,
        said: str,
    ) -> None:
        colab = on_colab(monkeypatch, Colab())
        colab.refuse_drive = fault
        drive.finish_writing()
        assert colab.flushed == 0 and capsys.readouterr().out == ""  # not mounted
        monkeypatch.setattr(os.path, "ismount", lambda _: True)
        drive.finish_writing()
        assert colab.flushed == 1 and said in capsys.readouterr().out

    def test_refusal_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        on_colab(monkeypatch, Colab()).refuse_drive = ValueError("mount failed")
        with pytest.raises(CellError, match="mount failed.*再运行这一格"):
            drive.mount()
