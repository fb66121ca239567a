"""A connection to a Ray cluster, and what its nodes can hold."""

import contextlib
import os
import signal
import socket
from dataclasses import dataclass, field
from typing import Any

from project.errors import UserError

LOCAL = "local"
SECONDS_TO_ANSWER = 5.0


@dataclass(frozen=True)
class Request:
    """What each worker takes of a node, by Ray's names."""

    cpus: float
    gpus: float
    memory: float | None  # GiB
    resources: dict[str, float] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """For Ray's scheduler."""
        memory = None if self.memory is None else int(self.memory * 2**30)
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": memory, "resources": self.resources or None}

    def fits(self, totals: dict[str, float]) -> bool:
        """Whether a node with these resources could hold it if it were empty."""
        memory = 0 if self.memory is None else self.memory * 2**30
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": memory, **self.resources}
        return all(totals.get(name, 0) >= amount for name, amount in wanted.items())

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU", f"{self.gpus:g} GPU"]
        if self.memory is not None:
            parts.append(f"{self.memory:g} GiB")
        return ", ".join([*parts, *(f"{amount:g} {name}" for name, amount in self.resources.items())])


def connect(address: str | None) -> Any:
    """Ray's module, connected to the cluster at `address`.

    Args:
        address: `auto`: that of `RAY_ADDRESS`, or one that runs on this machine; `host:port`; `ray://host:port`;
            `local`: one is started here, for this command alone.

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(f"cluster=ray needs Ray ({error}): pip install 'project[ray]'") from None
    if ray.is_initialized():
        return ray
    where = _where(address)
    _check_answer(where)
    arguments: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if where == LOCAL:
        arguments |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=where, **arguments)
    except Exception as error:  # Ray's share no base
        with contextlib.suppress(Exception):
            ray.shutdown()
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"there is no Ray cluster at cluster.address={where}: {reason}. {_REMEDY}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return ray


_REMEDY = "Start one with ray start --head, name another, or take cluster.address=local"


def _where(address: str | None) -> str:
    chosen = address if address not in (None, "", "auto") else os.environ.get("RAY_ADDRESS") or "auto"
    return str(chosen)


def _check_answer(where: str) -> None:
    """Ray itself waits for long, and may end the whole process."""
    host, _, port = where.removeprefix("ray://").rpartition(":")
    if where in (LOCAL, "auto"):
        return
    if not host or not port.isdigit():
        raise UserError(f"cluster.address must be auto, local, <host>:<port> or ray://<host>:<port>, got {where}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"there is no Ray cluster at cluster.address={where}: {error}. {_REMEDY}") from None


def nodes(ray: Any) -> list[dict[str, float]]:
    """The resources of each living node."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def said(totals: list[dict[str, float]]) -> str:
    """The nodes in a few words."""
    sums = [f"{sum(node.get(name, 0) for node in totals):g} {name}s" for name in ("CPU", "GPU")]
    return f"{len(totals)} node{'s' if len(totals) != 1 else ''}, {', '.join(sums)}"


def check_fits(request: Request, totals: list[dict[str, float]]) -> None:
    """Refuse what no node can hold.

    Raises:
        UserError: what each worker takes, and what there is.
    """
    if any(request.fits(node) for node in totals):
        return
    have = "; ".join(
        ", ".join(
            f"{amount / 2**30:.1f} GiB" if name == "memory" else f"{amount:g} {name}"
            for name, amount in sorted(node.items())
            if not name.startswith("node:") and name != "object_store_memory"
        )
        for node in totals[:3]
    )
    raise UserError(
        f"no node of the Ray cluster can hold a worker of {request}; there are {len(totals)} nodes: {have or 'none'}. "
        "Take less with cluster.cpus, cluster.gpus, cluster.memory, or wait for a cluster that grows with "
        "cluster.wait=<seconds>"
    )
