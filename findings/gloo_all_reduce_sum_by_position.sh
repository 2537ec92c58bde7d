#!/usr/bin/env bash
# The sum that torch.distributed's all_reduce gives on Gloo, of tensors whose elements are all equal.
#
# One would guess: the processes' values are added in the same order for each element, so that a tensor filled
# with one number on each process is filled with one number afterwards, and that a gradient's sum does not
# depend on where in a flat buffer it lies.
# What happens: from four elements on, the sum depends on the position. Each part of the buffer is passed round
# the ring from another process on, so that its values are added in another order. Reordering the parameters
# of a model, or putting the loss in front of its gradients, changes the last digits of a training. Whoever
# wants the digits of one process must gather the values and add them in an order of their own.
#
# Seen with torch 2.13.0 on Linux, with four processes on the loopback interface.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy
cat > sums.py <<'PY'
import sys

import torch
import torch.distributed as dist

rank = int(sys.argv[1])
dist.init_process_group("gloo", store=dist.FileStore("store", 4), rank=rank, world_size=4)
for size in (1, 2, 4, 1000, 100_000):
    values = torch.full((size,), [1e8, 1.0, -1e8, 1.0][rank])
    dist.all_reduce(values)
    found = values.unique().tolist()
    if rank == 0:
        print(size, "equal elements have the sums", found)
        expected = [0.0] if size < 4 else [0.0, 1.0]
        assert found == expected, "changed: expected " + str(expected)
dist.barrier()
dist.destroy_process_group()
PY
loopback=$(venv/bin/python -c "import socket; print(next(name for _, name in socket.if_nameindex() if name.startswith('lo')))")
for rank in 1 2 3; do
  GLOO_SOCKET_IFNAME=$loopback venv/bin/python sums.py "$rank" &
done
GLOO_SOCKET_IFNAME=$loopback venv/bin/python sums.py 0
wait
