"""A network that looks at pictures with a ConvNet which another run has trained."""

import logging

from omegaconf import DictConfig

from project.data.module import DataModule
from project.errors import UserError
from project.nets.feature_map import FeatureMap
from project.runs.folder import find_run
from project.runs.trained import load_run
from project.tasks.task import Task

log = logging.getLogger(__name__)


def start_encoder(cfg: DictConfig, task: Task, data: DataModule) -> None:
    """Give the network's encoder the weights of the run `cfg.encoder.run`, if the config names one.

    Raises:
        UserError: no such run, or one whose ConvNet is another.
    """
    wanted = cfg.get("encoder")
    if wanted is None:
        return
    if wanted.run is None:
        if wanted.frozen:
            log.warning("encoder.frozen=true without encoder.run: its weights stay as chance has drawn them")
        return
    encoder = getattr(task.net, "encoder", None)
    if not isinstance(encoder, FeatureMap):
        raise UserError(f"encoder.run is for networks that look at pictures; model={cfg.name} has no such encoder")
    wanted.run = str(find_run(str(wanted.run), cfg.outputs))  # not `latest`: the run says what it was made of
    run = load_run(wanted.run, cfg.outputs, wanted.checkpoint)
    source = getattr(run.task.net, "encoder", None)
    net = source.net if isinstance(source, FeatureMap) else run.task.net
    facts = data.facts
    try:
        if "mean" not in run.data:
            raise ValueError(f"model={run.cfg.name} is none for images")
        theirs = (run.data["mean"], run.data["std"])
        encoder.take(net.state_dict(), (facts["mean"], facts["std"]), theirs)
    except ValueError as error:
        raise UserError(
            f"encoder.run={wanted.run} has a {type(net).__name__} (model={run.cfg.name}) that does not fit this "
            f"{type(encoder.net).__name__}: {error}.\nChoose the net= that it has, with the same arguments"
        ) from error
    if isinstance(source, FeatureMap):  # whose images may have had to be brought to yet another normalisation
        encoder.offset.mul_(source.scale).add_(source.offset)
        encoder.scale.mul_(source.scale)
