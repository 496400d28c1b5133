"""Tokens to dollars, exactly."""
