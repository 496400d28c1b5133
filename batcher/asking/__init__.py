"""One task to one outcome."""
