"""What a user can mend: shown as one line, with exit code 2 and no traceback."""


class UserError(Exception):
    """Says what is wrong, where, and what to do, in one line."""
