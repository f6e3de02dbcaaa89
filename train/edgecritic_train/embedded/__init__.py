"""The embedded critic: a tiny LLaVA-OneVision trained on truth-by-construction data.

Three stages, one module each: `pretrain` (the vision tower learns to read the engine's pictures),
`align` (the projector learns to speak the language model's space) and `sft` (tower, projector and
a LoRA learn to judge). `judge` evaluates a checkpoint with the runtime's own verdict code.
"""
