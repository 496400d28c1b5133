"""Gemini on localhost."""
