"""The exceptions that mean "the user's input is wrong"."""


class InputError(Exception):
    """Wrong input: the message is one line that says what is wrong, in which file, and what to do.

    Commands turn it into `error: <message>` on stderr and exit code 2 (see common/command.py);
    every other exception is a defect of ours and keeps its traceback.
    """


class SharedError(InputError):
    """Wrong input that every rank of a ring has been told of: rank 0 says it, the others leave in silence."""
