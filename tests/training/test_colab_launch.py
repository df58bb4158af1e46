"""The object that the notebook's cells call, without a model: its form, its places, its keys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fintunnel_training.colab import drive, keys, places
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.form import checked
from fintunnel_training.colab.launch import Launch
from fintunnel_training.colab.places import Places, copy_folder, find_places

from tests.training.colab_runtime import Colab, form, launch, on_colab, places_in
from tests.training.finished_adapter import bare_adapter


@pytest.fixture
def here(tmp_path: Path) -> Places:
    return places_in(tmp_path)


class TestForm:
    def test_every_wrong_field_is_named(self) -> None:
        with pytest.raises(CellError) as failed:
            checked(form(batch_size=-1, learning_rate=2, headline="  "))
        assert "BATCH_SIZE 是 -1，应不小于 0" in str(failed.value)
        assert "LEARNING_RATE 是 2，应不大于 1" in str(failed.value)
        assert "HEADLINE" in str(failed.value)
        assert "\n" not in str(failed.value)

    @pytest.mark.parametrize("data", ["finance.xlsx", "https://example.com/finance"])
    def test_data_of_an_unknown_kind_is_refused(self, here: Places, data: str) -> None:
        with pytest.raises(CellError, match="应是 sample、upload"):
            launch(here, data=data).get_data()


class TestPlaces:
    def test_on_colab_results_go_to_drive_and_work_to_the_local_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        on_colab(monkeypatch, Colab())
        found = find_places("", "")
        assert found.folder.as_posix().endswith("/content/drive/MyDrive/fintunnel")
        assert found.work.as_posix().endswith("/content/fintunnel-work/content/drive/MyDrive/fintunnel")

    @pytest.mark.parametrize("folder", ["run2", "MyDrive/run2", "drive/MyDrive/run2", "/content/drive/MyDrive/run2"])
    def test_on_colab_a_folder_lies_on_drive_however_it_is_written(
        self, monkeypatch: pytest.MonkeyPatch, folder: str
    ) -> None:
        on_colab(monkeypatch, Colab())
        assert find_places(folder, "").folder == Path("/content/drive/MyDrive/run2").absolute()

    def test_folders_of_one_name_have_working_folders_of_their_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        on_colab(monkeypatch, Colab())
        assert find_places("a/run", "").work != find_places("b/run", "").work

    def test_results_beside_drive_are_pointed_out(
        self, monkeypatch: pytest.MonkeyPatch, here: Places, capsys: pytest.CaptureFixture[str]
    ) -> None:
        on_colab(monkeypatch, Colab())
        launch(here)
        assert "结果目录不在 Drive 上" in capsys.readouterr().out
        monkeypatch.setattr(drive, "_MOUNT", here.folder.parent)
        monkeypatch.setattr(drive, "check_mounted", lambda _: None)
        launch(here)
        assert "不在 Drive 上" not in capsys.readouterr().out

    def test_drive_that_is_not_mounted_is_an_error_not_a_folder(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(drive, "_MOUNT", tmp_path / "drive")
        with pytest.raises(CellError, match="Drive 没有挂载：请先运行第 2 节"):
            Launch(**form(folder=str(tmp_path / "drive" / "MyDrive" / "fintunnel"), work=str(tmp_path)))
        assert not (tmp_path / "drive").exists()

    def test_full_drive_is_said_before_an_hour_is_spent(
        self, monkeypatch: pytest.MonkeyPatch, here: Places, capsys: pytest.CaptureFixture[str]
    ) -> None:
        del capsys
        monkeypatch.setattr(places, "_ROOM", 2**60)
        with pytest.raises(CellError, match="只剩 .* MB，至少要"):
            here.check()

    def test_copy_that_reads_back_otherwise_is_refused_and_the_old_one_stays(
        self, monkeypatch: pytest.MonkeyPatch, here: Places
    ) -> None:
        bare_adapter(here.adapter)
        copy_folder(here.adapter, here.saved)
        (here.adapter / "new.bin").write_bytes(b"new")
        real = shutil.copytree

        def drop_a_write(source: Path, target: Path) -> Path:
            real(source, target)
            (target / "new.bin").write_bytes(b"")
            return target

        monkeypatch.setattr(shutil, "copytree", drop_a_write)
        with pytest.raises(CellError, match="读回来与原来的不同"):
            copy_folder(here.adapter, here.saved)
        assert sorted(path.name for path in here.folder.iterdir()) == ["adapter"]
        assert not (here.saved / "new.bin").exists()

    def test_drive_that_fills_up_meanwhile_loses_nothing(self, monkeypatch: pytest.MonkeyPatch, here: Places) -> None:
        bare_adapter(here.adapter)

        def full(source: Path, target: Path) -> Path:
            raise shutil.Error([(str(source), str(target), "[Errno 28] No space left on device")])

        monkeypatch.setattr(shutil, "copytree", full)
        with pytest.raises(CellError, match="No space left.*不会丢"):
            copy_folder(here.adapter, here.saved)
        assert here.adapter.is_dir()


class TestSecrets:
    def test_names_are_shown_and_values_are_not(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        on_colab(monkeypatch, Colab({"FINTUNNEL_API_KEY": "key-of-colab", "NGROK_AUTHTOKEN": "token-of-colab"}))
        monkeypatch.setenv("HF_TOKEN", "hub-of-the-environment")
        read = keys.read_keys()
        assert read.api_key == "key-of-colab"
        assert read.ngrok == {"NGROK_AUTHTOKEN": "token-of-colab"}
        assert read.hub == {"HF_TOKEN": "hub-of-the-environment"}
        shown = capsys.readouterr().out + repr(read)
        assert "已有：FINTUNNEL_API_KEY、NGROK_AUTHTOKEN、HF_TOKEN；没有：NGROK_DOMAIN" in shown
        assert "-of-" not in shown

    def test_without_a_key_each_session_gets_one(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("FINTUNNEL_API_KEY", raising=False)
        first, second = keys.read_keys(), keys.read_keys()
        assert first.api_key != second.api_key
        assert len(first.api_key) >= 32
        assert not first.own_api_key
        assert first.api_key not in capsys.readouterr().out
        monkeypatch.setenv("FINTUNNEL_API_KEY", first.api_key)  # as serving leaves it for curl
        assert not keys.read_keys().own_api_key

    def test_step_before_them_says_so(self, here: Places) -> None:
        with pytest.raises(CellError, match="第 5 节"):
            launch(here).dry_run()
