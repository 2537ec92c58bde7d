"""Tests of the options that say where tasks run."""

from __future__ import annotations

import pytest

from ppi_train.parallel.options import ParallelOptions


@pytest.mark.parametrize(
    "options",
    [
        ParallelOptions(),
        ParallelOptions(workers=2),
        ParallelOptions(cluster="tls://scheduler:8786"),
        ParallelOptions(cluster="tls://[::1]:8786"),
        ParallelOptions(cluster="tcp://10.0.0.1:8786", cluster_insecure=True),
        ParallelOptions(cluster="slurm:cluster.yaml", workers=8),
        ParallelOptions(cluster="kubernetes:cluster.yaml", workers=8, cluster_insecure=True),
    ],
)
def test_what_is_accepted(options: ParallelOptions) -> None:
    assert options.validate() == []


@pytest.mark.parametrize(
    "text", ["scheduler:8786", "tcp://scheduler", "slurm:", "slurm", "tls://a b:1", "ssh:x"]
)
def test_other_clusters_are_refused(text: str) -> None:
    (problem,) = ParallelOptions(cluster=text).validate()
    assert problem.startswith("cluster: expected tls://host:8786, tcp://")
    assert repr(text) in problem


def test_an_address_has_its_workers() -> None:
    (problem,) = ParallelOptions(cluster="tls://scheduler:8786", workers=2).validate()
    assert problem.startswith("workers and cluster: give one of them, not both")


def test_slurm_needs_a_number_of_workers() -> None:
    (problem,) = ParallelOptions(cluster="slurm:cluster.yaml").validate()
    assert problem == "workers: required with cluster=slurm:; how many to start there"


@pytest.mark.parametrize(
    "options", [{"cluster": "tcp://a:1"}, {"cluster": "kubernetes:a.yaml", "workers": 1}]
)
def test_what_is_not_encrypted_has_to_be_asked_for(options: dict[str, object]) -> None:
    (problem,) = ParallelOptions(**options).validate()  # type: ignore[arg-type]
    assert "is not encrypted" in problem
    assert "cluster_insecure=true" in problem


def test_options_without_effect() -> None:
    given = frozenset({"worker_threads", "cluster_insecure"})
    assert len(ParallelOptions().unused_options(given)) == 2
    assert ParallelOptions(workers=2).unused_options(frozenset({"worker_threads"})) == []
