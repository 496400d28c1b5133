"""batcher: a million prompts against a Gemini-compatible endpoint, right to the row and to the cent."""
