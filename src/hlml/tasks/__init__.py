"""Tasks: what the scores mean. Losses, metrics, answers and pictures."""
