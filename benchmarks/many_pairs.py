"""What an evaluation of millions of scored pairs takes: audit, metrics, strata and all intervals.

    python benchmarks/many_pairs.py [--pairs 1e7]

The pairs are random, of a hundredth as many proteins, with as many training pairs; 1,000 resamples. Prints
CPU seconds of each part and the peak of resident memory so far.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from ppi_train.evaluation.baselines import degree_scores
from ppi_train.evaluation.bootstrap import bootstrap_intervals
from ppi_train.evaluation.joint_pairs import JointPairs
from ppi_train.evaluation.measure import (
    degrees_without,
    measure_strata,
    strata_by_degree,
    strata_by_length,
    strata_by_proteins_seen,
)
from ppi_train.evaluation.overlap import overlap_measures
from ppi_train.evaluation.pair_metrics import pair_metrics, sigmoid
from ppi_train.evaluation.paired import paired_differences

RESAMPLES = 1000

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=float, default=1e7)
    count = int(parser.parse_args().pairs)
    proteins, rng = max(1000, count // 100), np.random.default_rng(0)
    pairs, labels = rng.integers(proteins, size=(count, 2)), rng.integers(2, size=count, dtype=np.int8)
    logits = (rng.normal(size=count) + labels).astype(np.float32)
    train = np.sort(rng.integers(proteins, size=(count, 2)), axis=1)
    joint = JointPairs(
        proteins=proteins,
        train=train,
        train_labels=labels,
        test=np.sort(pairs, axis=1),
        test_labels=labels,
    )
    started = time.process_time()
    timed("overlap with training", lambda: overlap_measures(joint))
    baseline = timed("degree in training", lambda: degree_scores(joint))
    timed(
        "gain over it",
        lambda: paired_differences(logits, baseline, labels, pairs, resamples=RESAMPLES, seed=0),
    )
    timed("metrics", lambda: pair_metrics(logits, labels, are_logits=True))
    strata = timed(
        "dividing into strata",
        lambda: [
            *strata_by_proteins_seen(rng.integers(0, 3, count)),
            *strata_by_length(rng.integers(50, 1500, count)),
            *strata_by_degree(degrees_without(pairs, labels)),
        ],
    )
    timed(
        f"{len(strata)} strata with intervals",
        lambda: measure_strata(strata, logits, labels, pairs, resamples=RESAMPLES, seed=0),
    )
    timed(
        "intervals of all metrics",
        lambda: bootstrap_intervals(sigmoid(logits), labels, pairs, resamples=RESAMPLES, seed=0),
    )
    print(f"all: {time.process_time() - started:.1f} s")


def timed(name: str, part: Callable[[], T]) -> T:
    started = time.process_time()
    result = part()
    seconds, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{name}: {seconds:.1f} s, peak {peak / 1000:,.0f} MB", flush=True)
    return result


if __name__ == "__main__":
    main()
