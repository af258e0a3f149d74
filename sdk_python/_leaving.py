"""Exceptions that leave a lambda's code: most are failures; a few kinds ask for the end of the process."""

import asyncio

EXITS = (SystemExit, KeyboardInterrupt)


def exit_in(error: BaseException) -> BaseException | None:
    """Find the `SystemExit` or `KeyboardInterrupt` that ``error`` is or, as a group, holds; None: it is a failure."""
    if isinstance(error, EXITS):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := exit_in(inner)) is not None), None)
    return None


def is_ours(error: BaseException, task: asyncio.Task[object] | None) -> bool:
    """Whether ``error`` came to ``task`` from outside, and was not raised by the code that the task awaits.

    It is a cancellation of the task itself, or the end of its coroutine, which is thrown into it while no task runs.
    """
    if isinstance(error, asyncio.CancelledError):
        return task is not None and task.cancelling() > 0
    if isinstance(error, GeneratorExit):
        try:
            return asyncio.current_task() is not task
        except RuntimeError:  # no loop runs
            return True
    return False


def exit_code(error: BaseException) -> int:
    """The exit code with which Python would end. For a text it is 1: Python prints the text."""
    if isinstance(error, KeyboardInterrupt):
        return 130  # as a shell has it for SIGINT
    code = error.code if isinstance(error, SystemExit) else 1
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1
