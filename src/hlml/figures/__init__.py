"""Pictures for the log book: each function returns a matplotlib Figure, and touches no state."""
