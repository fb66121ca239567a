"""Functions that a config names."""

from importlib import import_module
from typing import Any

from project.errors import UserError


def function(name: str, key: str) -> Any:
    """The function of that dotted name.

    Args:
        key: of the config, for the message.

    Raises:
        UserError: there is none.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}={name}: there is no such function ({error})") from error
    if not callable(found):
        raise UserError(f"{key}={name} is no function")
    return found
