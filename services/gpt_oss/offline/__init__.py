"""The offline engine: the OpenAI API answered by fixed rules. No model, no I/O of its own, no state."""
