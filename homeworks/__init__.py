"""The shelf: one folder a homework, with its assignment and the student's own model."""
