"""Plan, ask, seal: where a job becomes a run."""
