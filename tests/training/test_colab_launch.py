"""The object that the notebook's cells call, without a model: forms, places, data, keys, what was there before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fintunnel_training.adapter import BaseInfo, file_sha256
from fintunnel_training.colab import drive, evidence, keys, places, training
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.form import checked
from fintunnel_training.colab.launch import Launch
from fintunnel_training.colab.places import Places, copy_folder, find_places
from fintunnel_training.colab.server import NotebookServer, end_left_behind
from fintunnel_training.colab.showing import Table
from fintunnel_training.qlora.evidence import TrainingInfo

from tests.training.colab_runtime import Colab, form, on_colab
from tests.training.comparison_parts import BASE, TUNED
from tests.training.comparison_results import full
from tests.training.finished_adapter import bare_adapter

_EMBEDDED = BaseInfo(
    source="embedded",
    id="SmolLM2-135M-Instruct",
    revision=None,
    config_sha256="c",
    tokenizer_sha256="t",
    chat_template_sha256="m",
    weights_sha256=None,
)


@pytest.fixture
def here(tmp_path: Path) -> Places:
    made = Places(tmp_path / "kept", tmp_path / "work")
    made.check()
    return made


class TestForm:
    def test_every_wrong_field_is_named(self) -> None:
        with pytest.raises(CellError) as failed:
            checked(form(batch_size=0, learning_rate=2, headline="  "))
        assert "BATCH_SIZE 是 0，应不小于 1" in str(failed.value)
        assert "LEARNING_RATE 是 2，应不大于 1" in str(failed.value)
        assert "HEADLINE" in str(failed.value)
        assert "\n" not in str(failed.value)

    @pytest.mark.parametrize("data", ["finance.xlsx", "https://example.com/finance"])
    def test_data_of_an_unknown_kind_is_refused(self, here: Places, data: str) -> None:
        with pytest.raises(CellError, match="应是 sample、upload"):
            _launch(here, data=data).get_data()


class TestPlaces:
    def test_on_colab_results_go_to_drive_and_work_to_the_local_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        on_colab(monkeypatch, Colab())
        found = find_places("", "")
        assert found.folder.as_posix().endswith("/content/drive/MyDrive/fintunnel")
        assert found.work.as_posix().endswith("/content/fintunnel-work/fintunnel")

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
            _launch(here).dry_run()


class TestData:
    @pytest.fixture
    def rows(self, tmp_path: Path) -> Path:
        row = {"instruction": "分析消息", "input": "黄金上涨", "output": "利好"}
        for name in ("mine.jsonl", "mine.val.jsonl"):
            (tmp_path / name).write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
        return tmp_path / "mine.jsonl"

    def test_ready_instruction_set_is_taken_with_its_splits(self, here: Places, rows: Path) -> None:
        _launch(here, data=str(rows)).get_data()
        assert file_sha256(here.instructions) == file_sha256(rows)
        assert here.instructions.with_suffix(".val.jsonl").is_file()

    def test_one_that_is_there_is_not_made_again(
        self, here: Places, rows: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copy(rows, here.instructions)
        _launch(here).get_data()
        assert "用已有的指令集" in capsys.readouterr().out

    def test_other_content_is_not_written_over_it(self, here: Places, rows: Path) -> None:
        here.instructions.write_text(rows.read_text(encoding="utf-8") * 2, encoding="utf-8")
        before = here.instructions.read_bytes()
        with pytest.raises(CellError, match="内容与它不同.*FOLDER"):
            _launch(here, data=str(rows)).get_data()
        assert here.instructions.read_bytes() == before

    def test_other_number_of_rows_is_named(self, here: Places, rows: Path) -> None:
        shutil.copy(rows, here.instructions)
        here.instructions.with_suffix(".card.json").write_text('{"num_samples": 300}', encoding="utf-8")
        with pytest.raises(CellError, match="NUM_SAMPLES 原来 300，现在 20"):
            _launch(here).get_data()

    def test_upload_of_several_files_finds_the_training_rows(
        self, monkeypatch: pytest.MonkeyPatch, here: Places, tmp_path: Path, rows: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        uploads = {"mine.val.jsonl": b"", "mine.jsonl": rows.read_bytes()}
        on_colab(monkeypatch, Colab(uploads=uploads))
        _launch(here, data="upload").get_data()
        assert file_sha256(here.instructions) == file_sha256(rows)

    def test_upload_outside_colab_says_what_to_do(self, here: Places) -> None:
        with pytest.raises(CellError, match="DATA 改成"):
            _launch(here, data="upload").get_data()

    def test_missing_file_is_named(self, here: Places, tmp_path: Path) -> None:
        with pytest.raises(CellError, match="找不到 DATA 说的 .*finance.db"):
            _launch(here, data=str(tmp_path / "finance.db")).get_data()

    def test_building_before_getting_says_so(self, here: Places) -> None:
        with pytest.raises(CellError, match="第 6 节"):
            _launch(here).build_dataset()


class TestTraining:
    """`fintunnel train` stands aside: what it is called with, and what surrounds it."""

    @pytest.fixture
    def called(self, monkeypatch: pytest.MonkeyPatch, here: Places) -> list[tuple[str, ...]]:
        calls: list[tuple[str, ...]] = []

        def command(*arguments: str, advice: str, environment: object, meanwhile: Callable[[], None]) -> None:
            del advice, environment
            calls.append(arguments)
            meanwhile()
            if not here.adapter.exists():
                _trained(here.adapter)

        monkeypatch.setattr(training, "run_fintunnel", command)
        here.instructions.write_text(
            json.dumps({"instruction": "i", "input": "n", "output": "o"}) + "\n", encoding="utf-8"
        )
        return calls

    def test_adapter_ends_up_in_the_folder_that_stays(self, here: Places, called: list[tuple[str, ...]]) -> None:
        _ready(here).train()
        assert ("--mirror", str(here.checkpoints)) == called[0][called[0].index("--mirror") :][:2]
        assert file_sha256(here.saved / "manifest.json") == file_sha256(here.adapter / "manifest.json")

    def test_after_a_disconnect_the_finished_adapter_comes_back(
        self, here: Places, called: list[tuple[str, ...]]
    ) -> None:
        _ready(here).train()
        shutil.rmtree(here.work)  # a new runtime
        _ready(here).train()
        assert (here.adapter / "manifest.json").is_file()
        assert called[0] == called[1]

    def test_after_a_disconnect_half_way_the_same_command_finds_the_copies(
        self, here: Places, called: list[tuple[str, ...]]
    ) -> None:
        (here.checkpoints / "adapter" / "checkpoint-25").mkdir(parents=True)
        _ready(here).train()
        assert str(here.checkpoints) in called[0]

    def test_other_parameters_are_named_and_the_adapter_stays(
        self, here: Places, called: list[tuple[str, ...]]
    ) -> None:
        _ready(here).train()
        before = file_sha256(here.saved / "manifest.json")
        with pytest.raises(CellError, match="BATCH_SIZE 原来 4，现在 2；MAX_STEPS 原来 0，现在 10.*FOLDER"):
            _ready(here, batch_size=2, max_steps=10).train()
        assert len(called) == 1
        assert file_sha256(here.saved / "manifest.json") == before

    def test_other_data_is_named(self, here: Places, called: list[tuple[str, ...]]) -> None:
        _ready(here).train()
        _change_info(here, identity={"data_sha256": "another"})
        with pytest.raises(CellError, match="指令集的内容变了"):
            _ready(here).train()
        assert len(called) == 1

    def test_without_data_it_says_so(self, here: Places) -> None:
        with pytest.raises(CellError, match="第 6、7 节"):
            _ready(here).train()


class TestEvidence:
    def test_files_are_shown_with_sizes_and_hashes(self, monkeypatch: pytest.MonkeyPatch, here: Places) -> None:
        shown: list[Table] = []
        monkeypatch.setattr(evidence, "show", shown.append)
        bare_adapter(here.saved)
        _launch(here).verify()
        cells = dict((name, (size, digest)) for name, size, digest in shown[0].rows)
        assert cells["adapter_config.json"] == ("2", file_sha256(here.saved / "adapter_config.json")[:16])
        assert {"manifest.json", "adapter_model.safetensors"} <= cells.keys()

    def test_altered_file_is_an_error(self, here: Places) -> None:
        bare_adapter(here.saved)
        (here.saved / "adapter_model.safetensors").write_bytes(b"other")
        with pytest.raises(CellError, match="被改动或损坏"):
            _launch(here).verify()

    @pytest.mark.parametrize("step", ["verify", "show_training", "download", "compare", "serve"])
    def test_before_training_every_step_says_so(self, here: Places, step: str) -> None:
        with pytest.raises(CellError, match="第 9 节"):
            getattr(_ready(here), step)()

    def test_zip_is_handed_to_the_browser(self, monkeypatch: pytest.MonkeyPatch, here: Places) -> None:
        colab = on_colab(monkeypatch, Colab())
        monkeypatch.setattr(evidence, "zip_adapter", lambda _: None)
        _launch(here, download=False).download()
        assert colab.downloaded == []
        _launch(here).download()
        assert colab.downloaded == [str(here.folder / "qlora_weights.zip")]

    def test_one_question_is_shown_before_and_after(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown: list[Table] = []
        monkeypatch.setattr(evidence, "show", shown.append)
        result = full()
        evidence._show_example(result)
        assert [row[0] for row in shown[0].rows] == [
            f"微调前（{BASE}）",
            f"微调后（{TUNED}）",
        ]
        texts = {answer.text for example in result.examples for answer in example.answers}
        assert {row[2] for row in shown[0].rows} <= texts

    def test_texts_of_models_are_no_html(self) -> None:
        assert "<script>" not in Table("<script>", ("",), [("<script>alert(1)</script>",)])._repr_html_()


class TestServer:
    @pytest.mark.parametrize(
        ("ngrok", "use", "said"),
        [({}, False, "USE_NGROK"), ({}, True, "没有 NGROK_AUTHTOKEN，没有公开")],
    )
    def test_it_stays_local_without_a_token_or_the_wish(
        self, here: Places, ngrok: dict[str, str], use: bool, said: str
    ) -> None:
        server = _server(here, use, keys.Keys("k" * 32, True, ngrok, {}))
        arguments, why_not = server._tunnel()
        assert arguments == []
        assert said in why_not

    def test_public_server_has_no_page(self, here: Places) -> None:
        arguments, _ = _server(here, True, keys.Keys("k" * 32, True, {"NGROK_AUTHTOKEN": "t"}, {}))._tunnel()
        assert arguments[:3] == ["--tunnel", "ngrok", "--no-page"]

    def test_public_server_needs_a_key_that_the_person_knows(self, here: Places) -> None:
        server = _server(here, True, keys.Keys("k" * 32, False, {"NGROK_AUTHTOKEN": "t"}, {}))
        with pytest.raises(CellError, match="FINTUNNEL_API_KEY"):
            server._tunnel()

    @pytest.mark.parametrize("step", ["before_and_after", "use_it_elsewhere"])
    def test_asking_before_serving_says_so(self, here: Places, step: str) -> None:
        with pytest.raises(CellError, match="第 13 节"):
            getattr(_ready(here), step)()

    @pytest.mark.skipif(os.name == "nt", reason="the notebook is for Colab's Linux")
    def test_server_of_a_killed_kernel_is_ended(
        self, monkeypatch: pytest.MonkeyPatch, here: Places, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(here.work)
        command = [sys.executable, "-c", "import time; time.sleep(60)", "serve"]
        folders = (str(here.work), str(here.folder))
        mine, others = (subprocess.Popen(command, env={**os.environ, "NOTEBOOK_FOLDER": folder}) for folder in folders)
        try:
            end_left_behind()
            mine.wait(10)
            assert others.poll() is None
        finally:
            for process in (mine, others):
                process.kill()
                process.wait()
        assert f"进程 {mine.pid}" in capsys.readouterr().out

    def test_running_everything_leaves_the_server_alone(self, here: Places, capsys: pytest.CaptureFixture[str]) -> None:
        class Running:
            is_running = True

            def stop(self) -> None:
                self.is_running = False

        lab = _launch(here)
        lab._server = running = Running()  # type: ignore[assignment]
        lab.stop(confirm=False)
        assert running.is_running
        lab.stop(confirm=True)
        assert not running.is_running
        assert "服务已停止" in capsys.readouterr().out


def _launch(here: Places, **changes: object) -> Launch:
    return Launch(**form(folder=str(here.folder), work=str(here.work), **changes))


def _ready(here: Places, **changes: object) -> Launch:
    lab = _launch(here, **changes)
    lab.read_secrets()
    return lab


def _server(here: Places, use_ngrok: bool, given: keys.Keys) -> NotebookServer:
    return NotebookServer(checked(form(use_ngrok=use_ngrok)), here, given)


def _trained(folder: Path) -> None:
    """An adapter folder as training leaves it."""
    folder.mkdir(parents=True)
    (folder / "loss_curve.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8))
    options = {"epochs": 3.0, "max_steps": None, "batch_size": 4, "max_length": 512, "learning_rate": 2e-4}
    info = TrainingInfo(
        base="SmolLM2-135M-Instruct",
        device="cpu",
        quantization="nf4",
        precision="bfloat16",
        options=options,
        target_modules=["q_proj"],
        samples=1,
        samples_shortened=0,
        samples_dropped=0,
        tokens_per_epoch=1,
        trainable_parameters=1,
        total_parameters=2,
        steps=1,
        epochs_done=3.0,
        seconds=1.0,
        first_loss=2.0,
        last_loss=1.0,
        last_eval_loss=None,
        best=None,
        batch_size_at_end=4,
        accumulation_at_end=1,
        events=[],
        trainable_dtypes=["float32"],
        estimated_gib={},
        peak_memory_gib=1.0,
        versions={},
    )
    (folder / "training_info.json").write_text(info.model_dump_json(), encoding="utf-8")
    bare_adapter(folder, _EMBEDDED)


def _change_info(here: Places, **changes: object) -> None:
    for folder in (here.adapter, here.saved):
        info = json.loads((folder / "training_info.json").read_text(encoding="utf-8"))
        (folder / "training_info.json").write_text(json.dumps({**info, **changes}), encoding="utf-8")
        bare_adapter(folder, _EMBEDDED)
