"""Nothing paid is ever lost: the run directory and what is in it."""
