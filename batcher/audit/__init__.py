"""What a run directory says, proved from outside: this package shares no code with what wrote it."""
