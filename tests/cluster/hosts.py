"""Two hosts on one machine: network namespaces, joined by a pair of virtual Ethernet devices, without a way out."""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

NEW_NETWORK, NEW_HOSTNAME = 0x40000000, 0x04000000  # CLONE_NEWNET, CLONE_NEWUTS of sched.h
DEVICE = "eth0"


@dataclass(frozen=True)
class Host:
    """A network namespace with one device."""

    name: str
    address: str

    def enter(self) -> None:
        """This process goes on in the host, under its name; there is no way back."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/run/netns/{self.name}").open() as namespace:
            for done in (libc.setns(namespace.fileno(), NEW_NETWORK), libc.unshare(NEW_HOSTNAME)):
                if done != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        socket.sethostname(self.name)
        os.environ["GLOO_SOCKET_IFNAME"] = DEVICE  # no name server knows the host's name

    def command(self, *words: str) -> list[str]:
        """What runs the words in the host."""
        inside = f'hostname {self.name}; exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "-u", "bash", "-c", inside, "-", *words]

    def cut(self) -> None:
        """Nothing leaves or reaches it any more."""
        _ip("-n", self.name, "link", "set", DEVICE, "down")


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Made, and removed with everything in them; skipped where this process may not."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("two hosts are network namespaces: needs root, and `ip` (Debian: iproute2)")
    hosts = tuple(Host(f"host{number}-{os.getpid()}", f"10.77.0.{number}") for number in (1, 2))
    try:
        for host in hosts:
            try:
                _ip("netns", "add", host.name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        first, second = hosts
        pair = ("type", "veth", "peer", "name", DEVICE, "netns", second.name)
        _ip("link", "add", DEVICE, "netns", first.name, *pair)
        for host in hosts:
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", DEVICE)
            _ip("-n", host.name, "link", "set", "lo", "up")
            _ip("-n", host.name, "link", "set", DEVICE, "up")
        yield first, second
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)
