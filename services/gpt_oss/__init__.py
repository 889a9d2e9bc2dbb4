"""The model service: an OpenAI-compatible endpoint. Without a GPU it is the deterministic offline engine."""
