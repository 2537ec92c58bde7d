#!/usr/bin/env bash
# An HDF5 file of embeddings in which two accessions share one data set, walked with h5py's `visititems`.
#
# One would guess: `visititems`, the usual way through a file with groups, meets every name in it.
# What happens: it meets every object once. Of several accessions that are hard links to one data set (what a
# writer does with proteins of equal sequence) all but one are left out, and soft links are left out
# altogether, without a word: three proteins in the file, one read. `keys()` has all three.
#
# Seen with h5py 3.16.0 on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet h5py==3.16.0
venv/bin/python - <<'PY'
import h5py
import numpy as np

with h5py.File("embeddings.h5", "w") as file:
    file["P00001"] = np.ones((3, 4), np.float32)
    file["P00002"] = file["P00001"]
    file["P00003"] = h5py.SoftLink("/P00001")
met = []
with h5py.File("embeddings.h5") as file:
    file.visititems(lambda name, item: met.append(name))
    listed = list(file.keys())
print("keys():", listed)
print("visititems():", met)
assert listed == ["P00001", "P00002", "P00003"]
assert met == ["P00001"], "changed: visititems meets the other names now"
PY
