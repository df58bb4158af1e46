from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fintunnel_server.errors import SettingsError
from fintunnel_server.starting import named_adapters
from fintunnel_training.errors import AdapterError

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "adapters"
    (root / "gold" / "inner").mkdir(parents=True)
    (root / "file").write_text("")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root / "circle")
    (root / "borrowed").mkdir()
    (root / "borrowed" / "adapter_model.safetensors").symlink_to(tmp_path / "elsewhere" / "weights")
    return root


def post(app: LiveApp, **body: str) -> httpx.Response:
    return app.post("/admin/adapters", json=body)


def test_an_adapter_under_the_root_is_added_by_name(engine: InstantEngine, root: Path) -> None:
    loaded: list[tuple[str, Path]] = []
    with run_app(
        engine, api_key="k", adapter_root=root, load_adapter=lambda name, folder: loaded.append((name, folder))
    ) as app:
        assert post(app, name="gold").json() == {"name": "gold"}
        assert post(app, name="other", folder="gold").status_code == 200
        assert loaded == [("gold", root / "gold"), ("other", root / "gold")]
        assert httpx.post(f"{app.url}/admin/adapters", json={"name": "gold"}, trust_env=False).status_code == 401


@pytest.mark.parametrize("name", ["missing", "file", "link", "circle", "borrowed"])
def test_only_folders_of_the_root_itself_are_found(engine: InstantEngine, root: Path, name: str) -> None:
    with run_app(engine, api_key="k", adapter_root=root, load_adapter=lambda *_: pytest.fail("loaded")) as app:
        assert post(app, name=name).status_code == 404


@pytest.mark.parametrize("name", ["..", "gold/inner", "/etc", "gold\\inner", "", ".", "a" * 200, "C:\\x", "gold\x00"])
def test_a_path_is_no_name(engine: InstantEngine, root: Path, name: str) -> None:
    with run_app(engine, api_key="k", adapter_root=root, load_adapter=lambda *_: pytest.fail("loaded")) as app:
        assert post(app, name=name).status_code == 422
        assert post(app, name="x", folder=name).status_code == 422


def test_an_adapter_that_does_not_fit_is_422(engine: InstantEngine, root: Path) -> None:
    def refuse(name: str, folder: Path) -> None:
        raise AdapterError(f"适配器 {folder} 不适合 {name}")

    with run_app(engine, api_key="k", adapter_root=root, load_adapter=refuse) as app:
        answer = post(app, name="x", folder="gold")
        # Where the root is stays with the operator.
        assert (answer.status_code, answer.json()["error"]["message"]) == (422, "适配器 gold 不适合 x")


def test_without_a_root_there_is_no_such_route(engine: InstantEngine) -> None:
    with run_app(engine, api_key="k", load_adapter=lambda *_: pytest.fail("loaded")) as app:
        assert post(app, name="gold").status_code == 404


def test_flags_name_adapters_by_folder_or_by_choice(tmp_path: Path) -> None:
    odd = tmp_path / "lr=2e-4"
    given = named_adapters(["models/analyst", "gold=models/other", str(odd)])
    assert given == {"analyst": Path("models/analyst"), "gold": Path("models/other"), "lr=2e-4": odd}
    with pytest.raises(SettingsError, match="两个叫 gold"):
        named_adapters(["gold=a", "gold=b"])
