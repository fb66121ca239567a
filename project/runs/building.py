"""Hydra's `instantiate`, with a person's mistakes told in a line."""

import re
from typing import Any

from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from project.data.module import DataModule
from project.errors import UserError
from project.runs.hydra_versions import instantiate
from project.tasks.task import Task


def build(node: DictConfig, **arguments: Any) -> Any:
    """The object that `node` describes.

    Raises:
        UserError: its arguments are refused by what they are given to; anything else that goes wrong is left as it is.
    """
    try:
        return instantiate(node, **arguments)
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, OSError):
            raise UserError(f"cannot use {cause.filename or 'the disk'}: {cause.strerror or cause}") from error
        if isinstance(cause, ValueError | TypeError | MisconfigurationException | ImportError) or cause is error:
            raise UserError(_said(cause, error)) from error
        raise


def build_task(cfg: DictConfig) -> Task:
    """The task with its network, sized by `cfg.sizes`, its optimizer and its schedule.

    Raises:
        UserError: their arguments are refused, or the network wants a size that these data do not have.
    """
    try:
        task: Task = build(cfg.model, optimizer=build(cfg.optimizer), scheduler=build(cfg.scheduler))
    except OmegaConfBaseException as error:
        if (missing := re.search(r"'sizes\.(\w+)'", str(error))) is None:
            raise
        have = ", ".join(cfg.sizes)
        raise UserError(
            f"model={cfg.name} is for data with {missing[1]}; these have {have}: choose another data= or model="
        ) from error
    return task


def build_data(cfg: DictConfig) -> DataModule:
    """The DataModule, prepared and set up for training."""
    data: DataModule = build(cfg.data)
    data.prepare_data()
    try:
        data.setup("fit")
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    return data


def _said(cause: BaseException, error: InstantiationException) -> str:
    """The cause's own sentence; a third party's is prefixed with the class that said it."""
    text = " ".join(str(cause).split()) or type(cause).__name__
    named = re.search(r"Error in call to target '([^']+)'", str(error))
    target = named[1] if named else ""
    return text if target.startswith("project.") and isinstance(cause, ValueError) else f"{target}: {text}"
