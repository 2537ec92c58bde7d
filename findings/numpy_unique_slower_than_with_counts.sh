#!/usr/bin/env bash
# To name the distinct ones of many numbers should take no longer than to name and count them.
#
# One would guess: `numpy.unique(x)` is at least as fast as `numpy.unique(x, return_counts=True)`, which returns
# the same array and more, and both cost about what a sort costs.
#
# What happens: since 2.3 the plain call takes a hash table, whose answer is sorted afterwards, while the call with
# counts (or an index or an inverse) sorts. For a million distinct 64-bit numbers, such as the keys of protein pairs,
# the plain call takes 20 to 60 times as long; `isin`, `union1d` and `setdiff1d` call it and are as slow. Where few
# numbers are distinct the two differ little, so that a test on few proteins does not show it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import time

import numpy as np


def seconds(call, rounds=3):
    times = []
    for _ in range(rounds):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times)


print("numpy", np.__version__)
keys = np.random.default_rng(0).integers(0, 10**10, 10**6)
plain = seconds(lambda: np.unique(keys))
counted = seconds(lambda: np.unique(keys, return_counts=True))
member = seconds(lambda: np.isin(keys[:1000], keys))
print(f"a million keys: unique {plain:.3f} s, unique with counts {counted:.3f} s, ratio {plain / counted:.0f}")
print(f"isin of a thousand among them: {member:.3f} s")
assert np.array_equal(np.unique(keys), np.unique(keys, return_counts=True)[0])
assert plain > 5 * counted, "the plain call is no longer much slower than the one that also counts"
PYTHON
