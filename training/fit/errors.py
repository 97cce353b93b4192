"""The base of all errors that training reports to the user."""


class TrainingError(Exception):
    """Something you can correct went wrong; the message says what and what is allowed."""
