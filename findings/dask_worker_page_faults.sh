#!/usr/bin/env bash
# Page faults of numeric code in a worker of a Dask cluster on this machine.
#
# One would guess: a worker runs a function as any other process does, perhaps with fewer threads.
# What happens: Dask's nanny starts workers with MALLOC_TRIM_THRESHOLD_=65536, so that freed memory goes back to
# the system soon. Giving glibc any such value also turns off the rule by which it learns to keep blocks of the
# sizes that a program frees. Each array of more than 128 KiB is then mapped anew, and each of its pages faults
# again: hundreds of times the faults, which for loops over arrays of a few megabytes is half of the time.
# Larger values in the nanny's setting `distributed.nanny.pre-spawn-environ` undo it; leaving the variable out of
# that setting does not, since the default is merged in.
#
# Seen with distributed 2026.8.0 and numpy 2.4.6 on Linux (glibc 2.36).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet distributed==2026.8.0 numpy==2.4.6
cat > faults.py <<'PY'
import os
import resource

import dask
from distributed import Client, LocalCluster


LARGE = {"MALLOC_TRIM_THRESHOLD_": 1 << 28, "MALLOC_MMAP_THRESHOLD_": 1 << 25}


def faults() -> int:
    """Page faults of 300 arrays of 2 MB, one after the other, once the process is warm."""
    import numpy

    def work() -> None:
        for _ in range(300):
            numpy.ones(250_000).sum()

    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def in_worker(environment: dict[str, object]) -> int:
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        with LocalCluster(1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
            with Client(cluster) as client:
                return client.submit(faults).result()


if __name__ == "__main__":
    default = dask.config.get("distributed.nanny.pre-spawn-environ")
    print("a worker's environment:", default)
    assert int(default["MALLOC_TRIM_THRESHOLD_"]) == 65536, "changed: another default"
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ
    alone, worker, mended = faults(), in_worker(default), in_worker(LARGE)
    print("faults in this process:", alone)
    print("faults in a worker:", worker)
    print("faults in a worker with large values:", mended)
    assert worker > 100 * max(alone, mended, 1), "changed: a worker faults as other processes do"
PY
venv/bin/python faults.py
