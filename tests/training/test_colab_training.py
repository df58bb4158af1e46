"""The notebook's training: what `fintunnel train` is called with, what was there before, what stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fintunnel_training.adapter import file_sha256
from fintunnel_training.colab import training
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.places import Places

from tests.training.colab_runtime import places_in, ready
from tests.training.finished_adapter import BASE, bare_adapter, trained_adapter

_EMBEDDED = BASE.model_copy(update={"source": "embedded", "id": "SmolLM2-135M-Instruct"})


@pytest.fixture
def here(tmp_path: Path) -> Places:
    return places_in(tmp_path)


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
                trained_adapter(here.adapter, _EMBEDDED)

        monkeypatch.setattr(training, "run_fintunnel", command)
        here.instructions.write_text(
            json.dumps({"instruction": "i", "input": "n", "output": "o"}) + "\n", encoding="utf-8"
        )
        return calls

    def test_adapter_ends_up_in_the_folder_that_stays(self, here: Places, called: list[tuple[str, ...]]) -> None:
        ready(here).train()
        assert ("--mirror", str(here.checkpoints)) == called[0][called[0].index("--mirror") :][:2]
        assert file_sha256(here.saved / "manifest.json") == file_sha256(here.adapter / "manifest.json")

    def test_after_a_disconnect_the_finished_adapter_comes_back(
        self, here: Places, called: list[tuple[str, ...]]
    ) -> None:
        ready(here).train()
        shutil.rmtree(here.work)  # a new runtime
        ready(here).train()
        assert (here.adapter / "manifest.json").is_file()
        assert [*called[0]] == [text for text in called[1] if text not in ("--preset", "t4")]

    def test_after_a_disconnect_half_way_the_same_command_finds_the_copies(
        self, here: Places, called: list[tuple[str, ...]]
    ) -> None:
        (here.checkpoints / "adapter" / "checkpoint-25").mkdir(parents=True)
        ready(here).train()
        assert str(here.checkpoints) in called[0]
        assert not here.checkpoints.exists()  # the adapter is kept by now

    def test_other_parameters_are_named_and_the_adapter_stays(
        self, here: Places, called: list[tuple[str, ...]]
    ) -> None:
        ready(here).train()
        before = file_sha256(here.saved / "manifest.json")
        with pytest.raises(CellError, match="MAX_STEPS 原来 0，现在 10；BATCH_SIZE 原来 4，现在 2.*FOLDER"):
            ready(here, batch_size=2, max_steps=10).train()
        assert len(called) == 1
        assert file_sha256(here.saved / "manifest.json") == before

    def test_zeros_leave_it_to_the_preset(self, here: Places, called: list[tuple[str, ...]]) -> None:
        zeros = {"batch_size": 0, "learning_rate": 0.0, "max_length": 0}
        ready(here, **zeros).train()
        assert not {"--batch-size", "--learning-rate", "--max-length", "--preset"} & set(called[0])
        ready(here, **zeros).train()  # finished with the values of preset t4, which these are
        assert called[1][called[1].index("--preset") + 1] == "t4"
        _change_info(here, options={"preset": "cpu", "epochs": 3.0, "batch_size": 2})
        with pytest.raises(CellError, match="BATCH_SIZE 原来 2，现在 4"):
            ready(here, **zeros).train()

    def test_other_data_is_named(self, here: Places, called: list[tuple[str, ...]]) -> None:
        ready(here).train()
        _change_info(here, identity={"data_sha256": "another"})
        with pytest.raises(CellError, match="指令集的内容变了"):
            ready(here).train()
        assert len(called) == 1

    def test_without_data_it_says_so(self, here: Places) -> None:
        with pytest.raises(CellError, match="第 6 节和第 7 节"):
            ready(here).train()


def _change_info(here: Places, **changes: object) -> None:
    for folder in (here.adapter, here.saved):
        info = json.loads((folder / "training_info.json").read_text(encoding="utf-8"))
        (folder / "training_info.json").write_text(json.dumps({**info, **changes}), encoding="utf-8")
        bare_adapter(folder, _EMBEDDED)
