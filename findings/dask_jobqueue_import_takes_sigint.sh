#!/usr/bin/env bash
# Ctrl-C in a program that has imported dask-jobqueue.
#
# One would guess: importing a class by which jobs are submitted to Slurm changes nothing of the program, and at
# most a cluster that was started reacts to signals.
# What happens: the package imports its runner for MPI-like jobs along with the classes of clusters, and that
# module installs a handler of SIGINT for the whole process as it is imported. From then on Ctrl-C raises no
# KeyboardInterrupt: the program ends with exit code 0, as if it had done its work, and a handler that the program
# had installed before is lost. In another thread than the main one the same import fails with a ValueError.
# Keeping the handler from before the import, and installing it again after it, undoes it.
#
# Seen with dask-jobqueue 0.9.0 and distributed 2026.8.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet dask-jobqueue==0.9.0 distributed==2026.8.0
cat > interrupted.py <<'PY'
import signal
import sys

if "slurm" in sys.argv:
    from dask_jobqueue import SLURMCluster

    assert SLURMCluster

try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
    sys.exit(130)
PY
cat > thread.py <<'PY'
import threading

raised = []


def load() -> None:
    try:
        from dask_jobqueue import SLURMCluster

        assert SLURMCluster
    except Exception as error:
        raised.append(error)


thread = threading.Thread(target=load)
thread.start()
thread.join()
print("import in a thread:", repr(raised[0]) if raised else "works")
assert raised and isinstance(raised[0], ValueError), "changed: the import works in a thread"
PY
code=0; venv/bin/python interrupted.py || code=$?
echo "exit code after SIGINT, without the import: $code"
[ "$code" = 130 ]
code=0; venv/bin/python interrupted.py slurm || code=$?
echo "exit code after SIGINT, with the import: $code"
[ "$code" = 0 ] || { echo "changed: the import leaves SIGINT alone"; exit 1; }
venv/bin/python thread.py
