"""Time of the metrics with their intervals, and the intervals' coverage.

    nice -n 10 python benchmarks/evaluation.py [--coverage]

The pairs are made: 52,048 over 4,300 proteins, half of them interacting, as in the test set of Bernett et
al., proteins taking part as unevenly as in a network. With `--coverage`, which takes some minutes, test
sets of known AUROC are drawn again and again, and it is counted how often each kind of 95% interval holds it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from ppi_train.evaluation.bootstrap import bootstrap_intervals, interval, resample
from ppi_train.evaluation.measure import (
    degrees_without,
    measure_strata,
    strata_by_degree,
    strata_by_length,
    strata_by_proteins_seen,
)
from ppi_train.evaluation.pair_metrics import BOUNDS, pair_metrics, sigmoid
from ppi_train.evaluation.paired import paired_differences
from ppi_train.evaluation.uncertainty import fitted_temperature
from ppi_train.evaluation.weighted_metrics import WeightedPairMetrics, WeightedRanking

PAIRS, PROTEINS, RESAMPLES = 52_048, 4_300, 1000
TESTS, TEST_RESAMPLES = 200, 200


@dataclass(frozen=True)
class Made:
    """Pairs (n, 2) with logits and labels (n,), and the AUROC that more and more of them would have."""

    pairs: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    auroc: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--coverage", action="store_true", help="count how often intervals hold the truth")
    if parser.parse_args().coverage:
        coverage()
    else:
        speed()


def made(pairs: int, proteins: int, *, own: float, busy: float, seed: int) -> Made:
    """A test set.

    Args:
        pairs, proteins: Their numbers.
        own: Deviation of what a protein adds to the logit of all its pairs; the pair's own is 1.
        busy: Deviation of what a protein adds to the log odds that its pairs interact.
        seed: Of all draws.
    """
    rng = np.random.default_rng(seed)
    part = rng.pareto(2.5, proteins) + 0.5
    index = rng.choice(proteins, (pairs, 2), p=part / part.sum())
    labels = rng.random(pairs) < sigmoid(rng.normal(scale=busy, size=proteins)[index].sum(axis=1))
    logits = labels + rng.normal(scale=own, size=proteins)[index].sum(axis=1) + rng.normal(size=pairs)
    auroc = NormalDist().cdf(1 / np.sqrt(2 * (1 + 2 * own**2)))
    return Made(index, logits - 0.5, labels.astype(np.int8), auroc)


def speed() -> None:
    test = made(PAIRS, PROTEINS, own=0.5, busy=0.5, seed=0)
    rng = np.random.default_rng(1)
    probabilities, given = sigmoid(test.logits), (test.logits, test.labels, test.pairs)
    strata = [
        *strata_by_proteins_seen(rng.integers(0, 3, PAIRS)),
        *strata_by_length(rng.lognormal(6, 0.7, (PAIRS, 2)).max(axis=1).round()),
        *strata_by_degree(degrees_without(test.pairs, test.labels)),
    ]
    other = test.logits + rng.normal(scale=0.3, size=PAIRS)
    pair_metrics(probabilities[:100], test.labels[:100])  # imports scikit-learn
    parts: dict[str, Callable[[], Any]] = {
        "temperature": lambda: fitted_temperature(*given[:2]),
        "metrics": lambda: pair_metrics(*given[:2], are_logits=True),
        f"intervals of {len(BOUNDS)} metrics": lambda: bootstrap_intervals(
            probabilities, *given[1:], resamples=RESAMPLES, seed=0
        ),
        f"{len(strata)} strata, with intervals": lambda: measure_strata(
            strata, *given, resamples=RESAMPLES, seed=0
        ),
    }
    found, seconds, clock = {}, {}, 0.0
    for name, part in parts.items():
        started, since = time.process_time(), time.perf_counter()
        found[name] = part()
        seconds[name] = time.process_time() - started
        clock += time.perf_counter() - since
    total = sum(seconds.values())
    print(f"{PAIRS:,} pairs of {PROTEINS:,} proteins, {RESAMPLES:,} resamples\n")
    print("Seconds of CPU, which what else the machine does hardly touches; all of them on one core.\n")
    print("| part | seconds | share |\n| --- | --- | --- |")
    for name, duration in seconds.items():
        print(f"| {name} | {duration:.2f} | {duration / total:.0%} |")
    print(f"| all | {total:.2f} | |\n\nBy the clock: {clock:.1f} s")
    started = time.process_time()
    paired_differences(test.logits, other, test.labels, test.pairs, resamples=RESAMPLES, seed=0)
    print(f"\nTwo models compared, as `promote` does: {time.process_time() - started:.2f} s\n")
    points, ends = found["metrics"], found[list(parts)[2]]
    print("| metric | value | 95% interval |\n| --- | --- | --- |")
    for name, (low, high) in ends.items():
        print(f"| {name} | {points[name]:.4f} | {low:.4f} to {high:.4f} |")
    print("\nShare of a resample's time, one after another:")
    resample_parts(test)


def resample_parts(test: Made, turns: int = 100) -> None:
    probabilities = sigmoid(test.logits)
    ranking = WeightedRanking(probabilities, test.labels)
    measure = WeightedPairMetrics(probabilities, test.labels)
    started = time.process_time()
    draws = list(resample(test.pairs, test.labels, resamples=turns, seed=0, order=measure.order))
    drawn = time.process_time()
    for draw in draws:
        for weights in draw:
            ranking(weights)
    ranked = time.process_time()
    for draw in draws:
        for weights in draw:
            measure(weights)
    done = time.process_time()
    spent = {
        "drawing": drawn - started,
        "AUROC and AUPRC": ranked - drawn,
        "all other metrics": (done - ranked) - (ranked - drawn),
    }
    for name, seconds in spent.items():
        print(f"- {name}: {1000 * seconds / turns:.2f} ms")


def coverage() -> None:
    """How often 95% intervals of AUROC hold the truth, and how wide they are."""
    print(f"{TESTS} test sets each, {TEST_RESAMPLES} resamples\n")
    print("| pairs | proteins | own | busy | drawn pairs | drawn proteins | both, as here |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for pairs, proteins in ((2000, 100), (2000, 400), (8000, 1000)):
        for own, busy in ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0)):
            ends = np.array(
                [ends_of(made(pairs, proteins, own=own, busy=busy, seed=seed), seed) for seed in range(TESTS)]
            )
            low, high, truth = ends[..., 0], ends[..., 1], ends[..., 2]
            held, width = ((low <= truth) & (truth <= high)).mean(axis=0), (high - low).mean(axis=0)
            cells = [f"{share:.1%}, {mean_width:.4f}" for share, mean_width in zip(held, width, strict=True)]
            print(f"| {pairs:,} | {proteins:,} | {own} | {busy} | {' | '.join(cells)} |", flush=True)


def ends_of(test: Made, seed: int) -> list[tuple[float, float, float]]:
    """Ends of three intervals of AUROC, of which the last is that of the project, and the truth."""
    ranking = WeightedRanking(test.logits, test.labels)
    draws = resample(test.pairs, test.labels, resamples=TEST_RESAMPLES, seed=seed, order=ranking.order)
    by_protein, by_pair = np.array([[ranking(weights)["auroc"] for weights in draw] for draw in draws]).T
    point = ranking(np.ones(len(test.labels), np.int64))["auroc"]
    both = interval(point, by_protein, by_pair, confidence=0.95, bounds=(0.0, 1.0))
    plain = [np.quantile(estimates, (0.025, 0.975)) for estimates in (by_pair, by_protein)]
    return [(float(low), float(high), test.auroc) for low, high in (*plain, both)]


if __name__ == "__main__":
    main()
