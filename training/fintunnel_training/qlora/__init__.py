"""Instruction set → LoRA adapter on a 4-bit base: the recipe, its checkpoints, and the evidence that it leaves."""
