"""What the tests of clusters share: each cluster is started once a session."""

from collections.abc import Iterator

import pytest

from tests.cluster.slurm.cluster import Slurm, running_slurm


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    with running_slurm() as cluster:
        yield cluster
