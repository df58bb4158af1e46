from __future__ import annotations

from pathlib import Path

import pytest
from fintunnel_training.comparison.reproduction import commands, source_name
from fintunnel_training.comparison.systems import Choice, Source, sources
from fintunnel_training.errors import AdapterError, OptionError

from tests.training.calibration_rows import EDGES
from tests.training.finished_adapter import BASE, bare_adapter, list_files


def folder_of(path: Path, base: str = "some/base", weights: bytes = b"weights") -> Path:
    folder = bare_adapter(path, BASE.model_copy(update={"id": base}), EDGES)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "training_info.json").write_text('{"base": "some/base", "options": {"max_steps": 60}}', encoding="utf-8")
    (folder / "loss_curve.png").write_bytes(b"\x89PNG")
    (folder / "manifest.json").unlink()  # it would be listed as a file of the adapter
    list_files(folder, BASE.model_copy(update={"id": base}), EDGES)
    return folder


def shown(found: list[Source]) -> list[list[tuple[str, str, str | None]]]:
    return [[(each.name, each.stored.model, each.adapter) for each in source.systems] for source in found]


def fingerprint(choice: Choice) -> str:
    return sources(choice)[0].systems[-1].stored.fingerprint


def test_the_base_and_its_adapters_share_a_server(tmp_path: Path) -> None:
    one, two = folder_of(tmp_path / "one"), folder_of(tmp_path / "two")
    assert shown(sources(Choice(adapters=[str(one)]))) == [
        [("base", "some/base", "base"), ("tuned", "some/base", "tuned")]
    ]
    several = sources(Choice(adapters=[f"first={one}", str(two)], with_base=False))
    assert shown(several) == [[("first", "some/base", "first"), ("two", "some/base", "two")]]
    stored = several[0].systems[0].stored
    assert stored.loss_curve == b"\x89PNG" and stored.training is not None and stored.training.folder == "one"
    assert stored.training.info == {"base": "some/base", "options": {"max_steps": 60}}


def test_adapters_of_two_bases_have_a_server_and_a_base_each(tmp_path: Path) -> None:
    one, two = folder_of(tmp_path / "one"), folder_of(tmp_path / "two", "other/base")
    assert shown(sources(Choice(adapters=[str(one), str(two)]))) == [
        [("base", "some/base", "base"), ("one", "some/base", "one")],
        [("base", "other/base", "base"), ("two", "other/base", "two")],
    ]


def test_a_newly_trained_or_calibrated_adapter_is_another_system(tmp_path: Path) -> None:
    before = fingerprint(Choice(adapters=[str(folder_of(tmp_path / "a"))]))
    copied = fingerprint(Choice(adapters=[f"other={folder_of(tmp_path / 'b')}"]))
    assert copied == before  # neither its name nor its folder
    assert fingerprint(Choice(adapters=[str(folder_of(tmp_path / "a", weights=b"newer"))])) != before
    assert fingerprint(Choice(adapters=[str(tmp_path / "b")], quantization="none")) != before
    assert fingerprint(Choice(adapters=[str(tmp_path / "b")], base="elsewhere/base")) != before


@pytest.mark.parametrize("name", ["base=", "fintunnel=", "one=", "=", "x=none"])
def test_names_that_mean_something_else_are_refused(tmp_path: Path, name: str) -> None:
    one = folder_of(tmp_path / "one")
    given = name if name == "x=none" else f"{name}{one}"
    with pytest.raises((OptionError, AdapterError)):
        sources(Choice(adapters=[f"one={one}", given]))


def test_an_upstreams_model_is_asked_by_default_and_its_folder_calibrates_it(tmp_path: Path) -> None:
    upstream = ("http://127.0.0.1:9/v1", "analyst", "bare")
    [bare] = sources(Choice(upstream=upstream))
    assert shown([bare]) == [[("base", "bare", "base"), ("analyst", "analyst", None)]]
    [with_folder] = sources(Choice(upstream=upstream, adapters=[str(folder_of(tmp_path / "one"))], with_base=False))
    assert [(each.name, each.adapter) for each in with_folder.systems] == [("tuned", None)]
    with pytest.raises(OptionError):
        sources(Choice(upstream=upstream, base="x"))


def test_the_commands_that_made_it_can_be_read_off_card_and_adapter(tmp_path: Path) -> None:
    [source] = sources(Choice(adapters=[str(folder_of(tmp_path / "one"))]))
    card = {"source": r"C:\\Users\\me\\finance_analysis.db", "num_samples": 300, "seed": 42, "horizon_min": 15}
    lines = commands(card, Path("data/x.jsonl"), [source.systems[1].stored], ["fintunnel", "compare"])
    assert lines == [
        "fintunnel dataset build --db finance_analysis.db --out data/x.jsonl --window 15 --num-samples 300 --seed 42",
        "fintunnel train --data data/x.jsonl --base some/base --out one --max-steps 60",
        "fintunnel compare",
    ]
    assert source_name({"source": "postgresql://host/news"}) == "postgresql://host/news"
