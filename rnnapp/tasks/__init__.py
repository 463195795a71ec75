"""The tasks: what recurrent models are used for, one file each."""

from __future__ import annotations

import difflib

from rnnapp.tasks import language_model, speech_commands, text_classification, translation
from rnnapp.tasks.base import Evaluation, RunSpec, Task, Writer

TASKS: dict[str, Task] = {
    "speech_commands": speech_commands.TASK,
    "text_classification": text_classification.TASK,
    "language_model": language_model.TASK,
    "translation": translation.TASK,
}


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        ValueError: If there is none; the message lists the valid names.
    """
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise ValueError(f"There is no task {name!r}. {hint}Valid names: {', '.join(TASKS)}")


__all__ = ["TASKS", "Evaluation", "RunSpec", "Task", "Writer", "task_named"]
