"""Tokens a second and peak memory of training: ours against a plain trl script with the same settings, in one run.

    python -m bench.train [--steps 8] [--rounds 3]                         embedded base, NF4, on the CPU
    python -m bench.train --shape deepseek-7b --batch-size 4 --length 512  on a CUDA GPU, random weights, no download

Every measurement is a process of its own; the two take turns, and medians are compared. Time is from the beginning of
the second step to that of the last: in the first one, libraries compile their kernels. Tokens are those that went
through the model. Rows are as long as `--length` allows, so that neither gains by padding less. On a GPU, peak is what
tensors took of its memory, reserved what the allocator held of it for them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fintunnel.prompt import Message

from bench.random_base import SHAPES, random_base

MEMORY_BAR_GIB = 9.0
SPEED_BAR = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["embedded", *SHAPES], default="embedded")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--random-base", type=Path, metavar="DIR", help="where a shape's base is kept, and found again")
    parser.add_argument("--child", choices=["fintunnel", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps < 3:
        parser.error("--steps must be at least 3: the first and the last one are not timed")
    if arguments.child:
        measured = {"fintunnel": with_fintunnel, "trl": with_plain_trl}[arguments.child](arguments)
        sys.stdout.write(json.dumps(measured) + "\n")
        return
    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as name:
        arguments.folder = Path(name)
        if arguments.shape != "embedded":
            arguments.random_base = random_base(arguments.shape, arguments.random_base or arguments.folder / "base")
        write_rows(arguments.folder / "i.jsonl", base_of(arguments), arguments.length, arguments.batch_size * 4)
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    runs: dict[str, list[dict[str, Any]]] = {"trl": [], "fintunnel": []}
    for _ in range(arguments.rounds):
        for name in runs:
            runs[name].append(in_process(name, arguments))
    say(
        f"{arguments.shape}, NF4, batch {arguments.batch_size} x {arguments.length}, {arguments.steps} steps, "
        f"median of {arguments.rounds}; {runs['trl'][0]['device']}"
    )
    say("            tokens/s   peak GiB   reserved   last loss")
    speed = {}
    for name, measured in runs.items():
        speed[name] = statistics.median(run["tokens"] / run["seconds"] for run in measured)
        peak = max(run["peak_gib"] for run in measured)
        reserved = max(run["reserved_gib"] for run in measured)
        say(f"{name:10}  {speed[name]:8.1f}   {peak:8.2f}   {reserved:8.2f}   {measured[0]['loss']:9.4f}")
    ratio = speed["fintunnel"] / speed["trl"]
    say(f"fintunnel / trl: {ratio:.2f}  (bar: {SPEED_BAR:.1f}: {'met' if ratio >= SPEED_BAR else 'NOT met'})")
    if arguments.shape == "deepseek-7b":
        peak = max(run["peak_gib"] for run in runs["fintunnel"])
        say(f"peak {peak:.2f} GiB  (bar: {MEMORY_BAR_GIB:.0f}: {'met' if peak <= MEMORY_BAR_GIB else 'NOT met'})")
    estimated = runs["fintunnel"][0]["estimated_gib"]
    peak = max(run["peak_gib"] for run in runs["fintunnel"])
    say(f"estimated beforehand: {estimated:.2f} GiB, {100 * (estimated / peak - 1):+.0f} % of what was measured")


def in_process(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.train", "--child", name, "--folder", str(arguments.folder)]
    command += ["--shape", arguments.shape, "--steps", str(arguments.steps)]
    command += ["--batch-size", str(arguments.batch_size), "--length", str(arguments.length)]
    if arguments.random_base:
        command += ["--random-base", str(arguments.random_base)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"})
    if done.returncode != 0:
        raise SystemExit(f"{name} failed: {done.stderr[-3000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


# --- the two candidates -----------------------------------------------------------------------------


def with_fintunnel(arguments: argparse.Namespace) -> dict[str, Any]:
    from fintunnel_training.base import cuda_capability
    from fintunnel_training.qlora.evidence import read_training_info
    from fintunnel_training.qlora.options import TrainOptions
    from fintunnel_training.qlora.recipe import load_recipe, preset_for
    from fintunnel_training.qlora.train import train

    preset = preset_for(cuda_capability())
    sizes = {"max_steps": arguments.steps, "batch_size": arguments.batch_size, "max_length": arguments.length}
    bare = {"accumulation": 1, "eval_rows": 0, "save_steps": 10_000}
    recipe = load_recipe(preset, {**sizes, **bare, "learning_rate": 2e-4})
    out = arguments.folder / f"adapter-{os.getpid()}"
    begins = step_clock()
    train(
        TrainOptions(
            data=arguments.folder / "i.jsonl",
            out=out,
            base=base_of(arguments),
            recipe=recipe,
            preset=preset,
        )
    )
    info = read_training_info(out)
    assert info is not None
    history = [json.loads(line) for line in (out / "log_history.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "tokens": timed_tokens(history, begins),
        "seconds": begins[-1] - begins[1],
        "peak_gib": info.peak_memory_gib,
        "reserved_gib": reserved_gib(),
        "estimated_gib": info.estimated_gib["peak"],
        "estimated_parts": {name: size for name, size in info.estimated_gib.items() if name != "peak"},
        "loss": info.last_loss,
        "device": info.device,
    }


def with_plain_trl(arguments: argparse.Namespace) -> dict[str, Any]:
    """What one writes after reading trl's and peft's documents, with the same hyperparameters as ours."""
    import torch
    from datasets import Dataset
    from fintunnel_training.base import resolve_base
    from fintunnel_training.qlora.evidence import peak_memory_gib
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    path = resolve_base(base_of(arguments)).path
    on_gpu = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=torch.bfloat16,
        device_map={"": "cuda:0" if on_gpu else "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
    )
    rows = [json.loads(line) for line in (arguments.folder / "i.jsonl").read_text(encoding="utf-8").splitlines()]
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(arguments.folder / f"trl-{os.getpid()}"),
            max_steps=arguments.steps,
            per_device_train_batch_size=arguments.batch_size,
            learning_rate=2e-4,
            lr_scheduler_type="cosine",
            optim="paged_adamw_8bit" if on_gpu else "adamw_torch",
            bf16=on_gpu,
            use_cpu=not on_gpu,
            gradient_checkpointing=on_gpu,
            max_length=arguments.length,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=42,
        ),
        train_dataset=Dataset.from_list(
            [
                {
                    "prompt": [{"role": "user", "content": f"{row['instruction']}\n{row['input']}"}],
                    "completion": [{"role": "assistant", "content": row["output"]}],
                }
                for row in rows
            ]
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=8, lora_alpha=16, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    begins = step_clock()
    trainer.train()
    history = trainer.state.log_history
    return {
        "tokens": timed_tokens(history, begins),
        "seconds": begins[-1] - begins[1],
        "peak_gib": peak_memory_gib("cuda:0" if on_gpu else "cpu"),
        "reserved_gib": reserved_gib(),
        "loss": [entry["loss"] for entry in history if "loss" in entry][-1],
        "device": torch.cuda.get_device_name(0) if on_gpu else "cpu",
    }


def step_clock() -> list[float]:
    """A list to which every step of a trainer adds when it began, the step before being over: its loss was logged."""
    from trl import SFTTrainer

    step, begins = SFTTrainer.training_step, list[float]()

    def timed(*arguments: Any, **keywords: Any) -> Any:
        begins.append(time.perf_counter())
        return step(*arguments, **keywords)

    SFTTrainer.training_step = timed
    return begins


def timed_tokens(history: list[dict[str, Any]], begins: list[float]) -> float:
    """Of all steps but the first and the last; all have equally many."""
    return float(max(entry.get("num_tokens", 0) for entry in history) / len(begins) * (len(begins) - 2))


def reserved_gib() -> float:
    import torch

    return float(torch.cuda.max_memory_reserved()) / 2**30 if torch.cuda.is_available() else 0.0


# --- what they are given ----------------------------------------------------------------------------


def base_of(arguments: argparse.Namespace) -> str:
    return "embedded" if arguments.shape == "embedded" else str(arguments.random_base)


def write_rows(path: Path, base: str, length: int, count: int) -> None:
    """Rows that just fit into `length` tokens of the base's tokenizer."""
    from fintunnel_training.base import load_tokenizer, prompt_tokens, resolve_base

    tokenizer = load_tokenizer(resolve_base(base))
    row = {"instruction": "分析这条消息。", "input": "", "output": "影响有限，方向不明。"}

    def tokens() -> int:
        question: Message = {"role": "user", "content": f"{row['instruction']}\n{row['input']}"}
        return len(prompt_tokens(tokenizer, [question], row["output"])) + 1

    while tokens() < length:
        row["input"] += "黄金价格波动。"
    row["input"] = row["input"][:-7]
    path.write_text((json.dumps(row, ensure_ascii=False) + "\n") * count, encoding="utf-8")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
