"""`python -m batcher` and the `batcher` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from batcher.cli.app import main as command  # noqa: PLC0415  aiohttp and pyarrow load only for verbs that need them

    command()


if __name__ == "__main__":
    main()
