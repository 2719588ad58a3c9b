"""The one exception for what a person gave and the program cannot use."""


class InputError(ValueError):
    """A setting, a file or a data set that cannot be used as it is.

    The message is one or two sentences for a person: what was given (the key, the value,
    the path) and what would be right. `launch.py` prints it alone, without a traceback,
    and exits with status 2; from Python it is a `ValueError`.
    """
