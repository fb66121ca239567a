"""What a run was told and how to repeat it, as text in TensorBoard."""

import json
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from project.callbacks.drawing import writers
from project.callbacks.verbatim import verbatim
from project.runs.folder import CONFIG


class About(Callback):
    """`run/config` and `run/how_to_repeat`, once when a run begins; it reads what the run has recorded of itself."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is not None:
            return  # they stand there from the first time
        folder = Path(trainer.default_root_dir)
        if not (folder / CONFIG).exists():
            return  # a Trainer that is no run's
        for writer in writers(trainer):
            config = (folder / CONFIG).read_text(encoding="utf-8")
            environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
            writer.add_text("run/config", verbatim(config), global_step=0)
            writer.add_text("run/how_to_repeat", verbatim(how_to_repeat(environment)), global_step=0)


def how_to_repeat(environment: dict[str, Any]) -> str:
    """The command, and what it needs to give the same run: code, packages, hardware.

    Args:
        environment: what a run's `environment.json` holds.
    """
    git, hardware = environment["git"], environment["hardware"]
    lines = [environment["command"], ""]
    if git and git["commit"]:
        changed = ", with the changes that git.diff in the run's folder holds" if git["uncommitted"] else ""
        lines.append(f"commit     {git['commit']}{changed}")
    packages = {"python": environment["python"], **environment["packages"]}
    lines += [
        f"seed       {environment['seed']}",
        f"packages   {' '.join(f'{name}=={version}' for name, version in packages.items() if version)}",
        f"processor  {hardware['processor']}, {hardware['cores']} cores, {hardware['threads']} threads",
        *(f"GPU        {gpu}" for gpu in hardware["gpus"]),
        f"system     {hardware['system']}",
    ]
    return "\n".join(lines)
