"""Python in, a run out: `batcher.run`, `arun`, `stream` and `open_run`, on the floor of the command line."""
