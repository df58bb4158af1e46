"""The service that people write first: one route around `model.generate`, one request at a time.

    python -m bench.serving.naive_service --base FOLDER --adapter DIR --port 8000 [--quantization nf4|none]

It asks for the same JSON with the same prompt, and takes what the model writes. `new_tokens` of the request bounds the
answer, which ends there or at the end token.
"""

from __future__ import annotations

import argparse
import threading
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import Body, FastAPI
from fintunnel.prompt import render_prompt
from fintunnel.wire import NewsRequest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig


def create_app(base: str, adapter: str, quantization: str) -> FastAPI:
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.bfloat16,
        device_map={"": device},
        quantization_config=four_bits if quantization == "nf4" else None,
    )
    model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    lock = threading.Lock()
    app = FastAPI()

    @app.get("/health")
    def health() -> None:
        return None

    @app.post("/analyze")
    def analyze(request: NewsRequest, new_tokens: Annotated[int, Body()]) -> dict[str, Any]:
        inputs = tokenizer.apply_chat_template(
            render_prompt(request).messages(), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(device)
        with lock, torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)
        answer = output[0, inputs["input_ids"].shape[1] :]
        return {"text": tokenizer.decode(answer, skip_special_tokens=True), "tokens": len(answer)}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--quantization", choices=["nf4", "none"], default="nf4")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    app = create_app(arguments.base, arguments.adapter, arguments.quantization)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
