"""trl's SFTTrainer, set up for the recipe: what each library has to be told so that a T4 gets through."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fintunnel_training.base import LoadedBase
from fintunnel_training.errors import BaseModelError
from fintunnel_training.qlora.checkpoints import writing_checkpoint
from fintunnel_training.qlora.encoding import EncodedRows
from fintunnel_training.qlora.recipe import Recipe

__all__ = [
    "build_trainer",
    "count_steps",
    "keep_layout_of_training",
    "lora_weights_to_float32",
    "optimizer_name",
    "target_modules",
    "use_one_gpu",
]


def count_steps(rows: int, recipe: Recipe, processes: int = 1) -> int:
    """Steps of the optimizer in a whole run, as the trainer counts them."""
    if recipe.max_steps is not None:
        return recipe.max_steps
    per_epoch = math.ceil(math.ceil(math.ceil(rows / processes) / recipe.batch_size) / recipe.accumulation)
    return math.ceil(recipe.epochs * per_epoch)


def build_trainer(
    base: LoadedBase,
    encoded: EncodedRows,
    evaluated: EncodedRows | None,
    recipe: Recipe,
    *,
    writing: Path,
    callbacks: Sequence[Any],
    report_to: Sequence[str] = (),
    processes: int = 1,
) -> Any:
    """A trainer whose checkpoints are written into `writing`. `recipe.batch_size` is per process.

    Raises:
        BaseModelError: the base has no layers that the recipe could adapt.
    """
    # The libraries' notes to one another; and peft, which looks for the base's config on the hub.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="peft")
    # trl takes seconds to import: only here, where training really starts.
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback, set_seed
    from trl import SFTConfig

    set_seed(recipe.seed)  # before the adapter's first random weights
    on_gpu = base.device != "cpu"
    steps = count_steps(len(encoded.rows), recipe, processes)
    per_epoch = count_steps(len(encoded.rows), recipe.model_copy(update={"epochs": 1.0, "max_steps": None}), processes)
    config = SFTConfig(
        output_dir=str(writing),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine" if recipe.schedule == "cosine" else "constant_with_warmup",
        warmup_steps=max(1, steps // 30) if recipe.warmup_steps is None else recipe.warmup_steps,
        optim=optimizer_name(recipe, on_gpu=on_gpu, processes=processes),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        fp16=base.precision.fp16,
        bf16=base.precision.bf16,
        use_cpu=not on_gpu,
        ddp_find_unused_parameters=False,  # every adapter layer is used in every pass
        ddp_backend=None if on_gpu or processes == 1 else "gloo",
        gradient_checkpointing=recipe.gradient_checkpointing,
        neftune_noise_alpha=recipe.neftune_alpha,
        max_length=None,  # encode_rows has seen to it, without cutting answers
        dataset_kwargs={"skip_prepare_dataset": True},
        packing=False,  # needs FlashAttention, which a T4 lacks
        eval_strategy="steps" if evaluated else "no",
        eval_steps=recipe.eval_steps or per_epoch,
        prediction_loss_only=True,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would hide NaN losses
        save_strategy="steps",
        save_steps=recipe.save_steps,
        save_total_limit=None,  # sealed checkpoints are moved out of its sight
        report_to=list(report_to) or "none",
        disable_tqdm=True,  # the progress callback has the bar
        dataloader_pin_memory=on_gpu,
        seed=recipe.seed,
    )
    use_one_gpu(config)
    lora = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        use_rslora=recipe.rslora,
        use_dora=recipe.dora,
        target_modules=target_modules(base.model, recipe.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    trainer = _trainer_class()(
        model=base.model,
        args=config,
        train_dataset=Dataset.from_list(encoded.rows),
        eval_dataset=Dataset.from_list(evaluated.rows) if evaluated else None,
        processing_class=base.tokenizer,
        peft_config=lora,
        callbacks=list(callbacks),
    )
    trainer.loraplus_ratio = recipe.loraplus_ratio
    trainer.remove_callback(PrinterCallback)  # prints every log entry as a dict
    lora_weights_to_float32(trainer.model)
    keep_layout_of_training(trainer.model)
    return trainer


def optimizer_name(recipe: Recipe, *, on_gpu: bool, processes: int) -> str:
    """What transformers calls it. 8-bit paged states move to CPU memory when the GPU runs out; a CPU has nothing to
    page. Several processes that resume load paged states onto their GPUs as if they were ordinary ones."""
    if recipe.optimizer != "paged_adamw_8bit" or not on_gpu:
        return "adamw_torch"
    return "paged_adamw_8bit" if processes == 1 else "adamw_8bit"


def use_one_gpu(config: Any) -> None:
    """Where one process sees several GPUs, transformers would wrap the model in DataParallel, which trl refuses."""
    if config.n_gpu > 1:
        config._n_gpu = 1


def _trainer_class() -> Any:
    from trl import SFTTrainer

    class Trainer(SFTTrainer):  # type: ignore[misc]
        loraplus_ratio: float | None = None

        def create_optimizer(self, *arguments: Any, **keywords: Any) -> Any:
            if self.loraplus_ratio is not None and getattr(self, "optimizer", None) is None:
                from peft.optimizers import create_loraplus_optimizer

                kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
                self.optimizer = create_loraplus_optimizer(
                    self.model,
                    kind,
                    loraplus_lr_ratio=self.loraplus_ratio,
                    loraplus_weight_decay=self.args.weight_decay,
                    **settings,
                )
            return super().create_optimizer(*arguments, **keywords)

        def _save_checkpoint(self, *arguments: Any, **keywords: Any) -> None:
            with writing_checkpoint(self.state.global_step, Path(self.args.output_dir).parent):
                super()._save_checkpoint(*arguments, **keywords)

    return Trainer


def target_modules(model: Any, targets: str) -> str | list[str]:
    """Names of the layers that get an adapter: every linear layer but the head, or those of attention alone."""
    if targets == "all-linear":
        return "all-linear"
    import torch

    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        # 4-bit layers are linear layers too.
        if isinstance(module, torch.nn.Linear) and "attn" in name.lower().replace("attention", "attn")
    }
    if not names:
        raise BaseModelError("这个基座里找不到注意力层的线性变换，请用 --targets all-linear。")
    return sorted(names)


def keep_layout_of_training(model: Any) -> None:
    """On a CPU with AVX512-BF16, the first evaluation makes bitsandbytes lay out the 4-bit weights for inference. It
    does not undo that for the next step, whose gradients then stop at every 4-bit layer without an error."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def lora_weights_to_float32(model: Any) -> None:
    """SFTTrainer casts the adapter of a 4-bit model to bf16 whatever the precision; under fp16 the gradient
    scaler cannot unscale bf16 gradients and fails on a T4. float32 is right under every precision."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
