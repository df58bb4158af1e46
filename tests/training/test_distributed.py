from __future__ import annotations

import pytest
from fintunnel.cli import main
from fintunnel_training.errors import OptionError, TrainingError
from fintunnel_training.qlora.distributed import check_launcher, from_main, raise_lost_process, said_once


@pytest.mark.parametrize(
    ("variable", "name"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_a_launcher_that_shards_the_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, name: str
) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(SystemExit) as caught:
        main(["train", "--data", "none.jsonl", "--out", "none", "--base", "embedded"])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and f"不支持 {name}" in said and "--multi_gpu" in said and "Traceback" not in said


def test_a_launcher_that_does_not_shard_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    check_launcher()


def test_one_process_does_what_the_first_of_several_would() -> None:
    assert from_main(lambda: 7) == 7

    def fail() -> None:
        raise OptionError("no")

    with pytest.raises(OptionError, match="no"):
        from_main(fail)


def test_an_error_of_all_processes_is_told_by_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OptionError("no")
    assert said_once(error) is error
    monkeypatch.setenv("RANK", "1")
    ended = said_once(error)
    assert isinstance(ended, SystemExit) and ended.code == 2


def test_a_lost_process_is_told_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:33333")
    raise_lost_process(lost, "")  # alone, there is nobody to lose
    monkeypatch.setenv("WORLD_SIZE", "2")
    raise_lost_process(RuntimeError("shape mismatch"), "")
    with pytest.raises(TrainingError, match="另一个训练进程已经停止.*再次运行同一条命令"):
        raise_lost_process(lost, "")
