"""What Lightning and torch say, kept to what a person needs."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException

from project.errors import UserError

_HINTS = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*available but not used.*",
    ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
    ".*`srun` command is available.*",
    r".*Found \d+ module\(s\) in eval mode.*",  # what is frozen
    ".*It is recommended to use `self.log.*sync_dist=True.*",
    ".*not part of single contiguous chunk of memory.*",  # cuDNN is given a cell's weights as they are
    ".*AccumulateGrad node's stream does not match.*",  # of gradients that CUDA graphs compute
)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the hints that Lightning and torch give on every start."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    compilers = logging.getLogger("torch.utils.cpp_extension")
    compilers.addFilter(_is_of_use)
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in _HINTS:
                warnings.filterwarnings("ignore", message=text)
            yield
    finally:
        compilers.removeFilter(_is_of_use)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_of_use(record: logging.LogRecord) -> bool:
    """Not of a GPU's tools on a machine without a GPU, when something is compiled for its processor."""
    return not str(record.msg).startswith(("No CUDA runtime is found", "No ROCm runtime is found"))


@contextmanager
def explained() -> Iterator[None]:
    """Lightning's own refusal of a configuration as a person's mistake.

    Raises:
        UserError: with Lightning's sentence.
    """
    try:
        yield
    except (MisconfigurationException, ValueError) as error:
        if isinstance(error, ValueError) and not _raised_by_lightning(error):
            raise
        raise UserError(" ".join(str(error).split())) from error


def _raised_by_lightning(error: BaseException) -> bool:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    package = Path(lightning.__file__).parent
    return frame is not None and package in Path(frame.tb_frame.f_code.co_filename).parents
