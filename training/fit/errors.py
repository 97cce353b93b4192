"""The base of all errors that training reports to the user."""


class TrainingError(Exception):
    """Something you can correct went wrong; the message says what and what is allowed."""

    exit_status = 1  # of a command that it ends
