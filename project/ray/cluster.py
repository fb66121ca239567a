"""A connection to a Ray cluster, and what its nodes can hold."""

import contextlib
import os
import signal
import socket
from typing import Any

from project.errors import UserError
from project.ray.settings import Request

LOCAL = "local"
SECONDS_TO_ANSWER = 5.0
CLIENT_ATTEMPTS = 3  # a busy head node may not start the server of a client in the time that Ray gives it
_REMEDY = "Start one with ray start --head, name another, or take cluster.address=local"


def connect(address: str) -> Any:
    """Ray's module, connected to the cluster at `address`, until this process ends.

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(f"cluster=ray needs a package that is not installed ({error}): pip install '.[ray]'") from None
    if ray.is_initialized():
        return ray
    where = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    _check_answer(where)
    arguments: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if where == LOCAL:
        arguments |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
    reason = ""
    for _ in range(CLIENT_ATTEMPTS if where.startswith("ray://") else 1):
        reason = _refusal(ray, where, arguments)
        if not reason:
            return ray
    raise UserError(f"there is no Ray cluster at cluster.address={where}: {reason}. {_REMEDY}")


def _refusal(ray: Any, where: str, arguments: dict[str, Any]) -> str:
    """Connect; why it could not be done, or nothing. Signals stay with whoever had them, which Ray changes."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=where, **arguments)
    except Exception as error:  # Ray's share no base
        with contextlib.suppress(Exception):
            ray.shutdown()
        return " ".join(str(error).split())[-300:] or type(error).__name__
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return ""


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
        UserError: what each job takes, and what there is.
    """
    if any(request.fits(node) for node in totals):
        return
    raise UserError(
        f"no node of the Ray cluster can hold {request}; there are: {'; '.join(map(_listed, totals[:3])) or 'none'}. "
        "Take less with cluster.cpus, cluster.gpus or cluster.memory, or, where the cluster grows by itself, wait with "
        "cluster.wait=<seconds>"
    )


def _listed(totals: dict[str, float]) -> str:
    ours = {name: amount for name, amount in sorted(totals.items()) if not name.startswith(("node:", "object_store"))}
    return ", ".join(f"{v / 2**30:.1f} GiB" if name == "memory" else f"{v:g} {name}" for name, v in ours.items())
