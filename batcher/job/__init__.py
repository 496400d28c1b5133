"""What the user wants: one frozen value, read from a job file, the environment and flags."""
