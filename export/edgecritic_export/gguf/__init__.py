"""The GGUF files that llama.cpp opens: language model, vision tower with projector, adapter."""
