"""The verdict of a promotion: decision, table and logging."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppi_train.config.schema import PromoteConfig
from ppi_train.evaluation.bootstrap import PairedDifference
from ppi_train.modes.execute import PipelineResult
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a candidate is promoted, and why.

    `candidate` has the candidate's metrics by name; `differences` are those to the holder, if there is one.
    """

    promoted: bool
    why: str
    candidate: Mapping[str, float] = field(default_factory=dict)
    differences: Mapping[str, PairedDifference] = field(default_factory=dict)


def judge_first(candidate: Mapping[str, float], *, min_auprc: float) -> Verdict:
    """The verdict on the first model: it passes if AUPRC reaches `min_auprc`."""
    low = _too_low(candidate, min_auprc)
    return Verdict(promoted=not low, why=low or "the first model of this name", candidate=candidate)


def judge(
    differences: Mapping[str, PairedDifference], *, min_auprc: float, min_improvement: float
) -> Verdict:
    """The verdict on a challenger of the present holder.

    The lower bound of its gain in AUPRC must be above `min_improvement`, and its AUPRC at least `min_auprc`.
    """
    candidate = {name: difference.candidate for name, difference in differences.items()}
    bound = differences["auprc"].low
    passed = bound > min_improvement
    why = (
        f"the 95% interval of its gain in AUPRC starts at {bound:+.4f}, "
        f"{'above' if passed else 'not above'} min_improvement={min_improvement}"
    )
    low = _too_low(candidate, min_auprc)
    return Verdict(promoted=passed and not low, why=low or why, candidate=candidate, differences=differences)


def _too_low(candidate: Mapping[str, float], floor: float) -> str:
    if candidate["auprc"] >= floor:
        return ""
    return f"its AUPRC, {candidate['auprc']:.4f}, is under min_auprc={floor}"


def log_verdict(
    verdict: Verdict, config: PromoteConfig, tracked: TrackedRun, *, exit_code: int
) -> PipelineResult:
    """Prints and logs the table and the verdict."""
    word = "promoted" if verdict.promoted else "not promoted"
    target = f"models:/{config.registered_model}@{config.alias}"
    table = verdict_table(verdict)
    for line in (*table, f"{target}: {word}; {verdict.why}"):
        logger.info("%s", line)
    text = "\n".join([*table, "", f"`{target}`: **{word}**; {verdict.why}", ""])
    tracked.set_tags({"ppi.verdict": word})
    tracked.describe(text)
    metrics = _metrics(verdict)
    tracked.log_metrics(metrics)
    path = Path(config.output_dir) / tracked.run_id / "promotion.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    tracked.log_file(path)
    if exit_code:
        tracked.fail(f"{target}: {word}; {verdict.why}")
    outputs = {"verdict": word, "why": verdict.why}
    return PipelineResult(run_id=tracked.run_id, exit_code=exit_code, metrics=metrics, outputs=outputs)


def _metrics(verdict: Verdict) -> dict[str, float]:
    metrics = {f"promotion/{name}_candidate": value for name, value in verdict.candidate.items()}
    for name, paired in verdict.differences.items():
        metrics |= {
            f"promotion/{name}_holder": paired.holder,
            f"promotion/{name}_difference": paired.difference,
            f"promotion/{name}_difference_ci_low": paired.low,
            f"promotion/{name}_difference_ci_high": paired.high,
        }
    return metrics


def verdict_table(verdict: Verdict) -> list[str]:
    """Candidate, holder, difference and its interval by metric, as lines of Markdown."""
    if not verdict.candidate:
        return []
    lines = ["| metric | candidate | holder | difference | 95% interval |", "| --- | --- | --- | --- | --- |"]
    for name in sorted(verdict.candidate, key=lambda metric: metric != "auprc"):
        cells = [name.upper(), f"{verdict.candidate[name]:.4f}", "none", "", ""]
        if name in verdict.differences:
            paired = verdict.differences[name]
            interval = f"{paired.low:+.4f} to {paired.high:+.4f}"
            cells[2:] = [f"{paired.holder:.4f}", f"{paired.difference:+.4f}", interval]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
