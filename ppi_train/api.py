"""The Python interface: each run mode as a function, with its run as the result.

A function takes the parameters that its mode has on the command line, and makes the same tracked run. Files
are given by path. A mistake is raised as a `UserError` with the text that the command prints; a parameter
that the mode does not have is a `TypeError`. Progress and log lines go to the standard error; nothing is
printed to the standard output, and no call ends the process.

Every function that makes a run also takes `run_name`, `experiment` and `progress`; see `run`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppi_train.config.fields import describe_fields
from ppi_train.config.options import RELEASED_PREFIX
from ppi_train.errors import DataError, counted, first_ten, nearest
from ppi_train.io.progress import progress_shown
from ppi_train.io.terminal import ShownFormatter
from ppi_train.modes import execute_pipeline, find_mode

if TYPE_CHECKING:
    import pandas as pd

    from ppi_train.embeddings.cache.reader import EmbeddingCache
    from ppi_train.serving import PairScorer

_SEQUENCES = ("sequence_a", "sequence_b")
_NAMES = ("protein_a", "protein_b")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run of a mode.

    Attributes:
        run_id: Its ID on the tracking server.
        mode: The mode.
        metrics: Its last metrics by name, such as `val/auroc_best`.
        outputs: What it has written, by name.
        exit_code: That of the command: 0, or 3 for a promotion that was refused.
        url: Its page in the MLflow UI; for a store without a server, the command that shows it.
    """

    run_id: str
    mode: str
    metrics: Mapping[str, float] = field(default_factory=dict, repr=False)
    outputs: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0
    url: str = ""
    _fasta: str | None = field(default=None, repr=False)
    _embeddings: str | None = field(default=None, repr=False)

    @cached_property
    def model(self) -> Model:
        """The best model of a training run.

        Raises:
            CheckpointError: this is not a training run.
        """
        return load_model(self.run_id, fasta=self._fasta, embeddings=self._embeddings)


class Model:
    """A trained model in memory, on the CPU; see `load_model`."""

    def __init__(self, scorer: PairScorer, run_id: str, sequences: Mapping[str, str]) -> None:
        self._scorer, self.run_id, self._sequences = scorer, run_id, sequences

    def __repr__(self) -> str:
        return f"Model(run_id={self.run_id!r})"

    def predict(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Scores pairs of proteins.

        Each distinct protein is embedded and encoded once.

        Args:
            pairs: Columns `sequence_a` and `sequence_b`; or `protein_a` and `protein_b`, names of the FASTA
                or embedding cache that the model was loaded with. Other columns are kept.

        Returns:
            The same rows and index, with `probability`, `logit` and `uncertainty` (the standard deviation of
            the logit) added.

        Raises:
            DataError: neither or both kinds of columns, an unknown protein, or an invalid sequence.
            CacheError: names without a FASTA or a cache.
        """
        from ppi_train.evaluation.pair_metrics import sigmoid

        logits, deviations = self._scorer.with_uncertainty(self._table(pairs))
        scores = {"probability": sigmoid(logits), "logit": logits, "uncertainty": deviations}
        return pairs.assign(**scores)

    def _table(self, pairs: pd.DataFrame) -> dict[str, list[str]]:
        """The columns that make pairs; names become sequences where these are known."""
        table = {name: list(pairs[name]) for name in (*_SEQUENCES, *_NAMES) if name in pairs.columns}
        if table.keys() != set(_NAMES) or not self._sequences:
            return table
        missing = dict.fromkeys(
            name for column in table.values() for name in column if name not in self._sequences
        )
        if missing:
            raise DataError(
                f"no sequence for {counted(len(missing), 'protein')} of the pairs",
                got=first_ten(missing),
                expected=f"names as in the FASTA: {first_ten(self._sequences)}",
            )
        return {
            column: [self._sequences[name] for name in table[names]]
            for column, names in zip(_SEQUENCES, _NAMES, strict=True)
        }


def train(
    *,
    fasta: str | Path | None = None,
    train_pairs: str | Path | None = None,
    val_pairs: str | Path | None = None,
    dataset: str | None = None,
    model: str | None = None,
    **parameters: Any,
) -> Run:
    """Trains a model from random weights: mode `train_only`.

    Args:
        fasta: Sequences of your own proteins.
        train_pairs: Labelled pairs of your own.
        val_pairs: Pairs to choose the best epoch on; go with `train_pairs`.
        dataset: A benchmark in place of your own files; without both, the built-in example.
        model: A model of the registry, such as `pooled_mlp` or `v3`.
        parameters: Any other parameter of the mode: `ppi-train train_only --help`.

    Returns:
        The run, with its validation metrics and its `model`.

    Raises:
        UserError: a parameter or a file is wrong.
        TypeError: the mode has no such parameter.

    Examples:
        >>> run = train(epochs=1, data_dir=".", output_dir="runs", progress=False)
        >>> 0.5 < run.metrics["val/auroc_best"] <= 1
        True
    """
    return run(
        "train_only",
        fasta=fasta,
        train_pairs=train_pairs,
        val_pairs=val_pairs,
        dataset=dataset,
        model=model,
        **parameters,
    )


def sweep(
    *,
    search: str | Path | None = None,
    trials: int | None = None,
    workers: int | None = None,
    dataset: str | None = None,
    model: str | None = None,
    **parameters: Any,
) -> Run:
    """Searches hyper-parameters, with a run for each trial: mode `sweep`.

    Args:
        search: YAML file of what is searched; without it a default of the model.
        trials: Trials that the study is to have; the same call continues one that was interrupted.
        workers: Processes on this machine that train trials at a time.
        dataset: A benchmark; your own files are given as in `train`.
        model: A model of the registry, if it is not searched.
        parameters: Any other parameter of the mode: `ppi-train sweep --help`.

    Returns:
        The run of the sweep; `outputs["best_run_id"]` is the run of the best trial.

    Raises:
        UserError: the search space, a parameter or a file is wrong, or no trial was completed.
        TypeError: the mode has no such parameter.
    """
    return run(
        "sweep", search=search, trials=trials, workers=workers, dataset=dataset, model=model, **parameters
    )


def finetune(
    pretrain_run_id: str,
    **parameters: Any,
) -> Run:
    """Trains on from the weights of an earlier run: mode `finetune_from_pretrain`.

    Args:
        pretrain_run_id: The run whose best checkpoint it starts from.
        parameters: Others of the mode.
    """
    return run(
        "finetune_from_pretrain",
        pretrain_run_id=pretrain_run_id,
        **parameters,
    )


def evaluate(
    source: str | None = None,
    **parameters: Any,
) -> Run:
    """Scores a labelled test set with a model: mode `eval_only`.

    Without a model it measures the `scores` that another tool gave to the pairs.

    Args:
        source: A run ID, a registered model such as `models:/ppi@champion`, or `released:human`.
        parameters: Others of the mode, such as `test_pairs` and `fasta`.

    Returns:
        The run of the evaluation; its outputs name the report.
    """
    return run(
        "eval_only",
        **(_of_source(source) if source else {}),
        **parameters,
    )


def compare(
    *run_ids: str,
    **parameters: Any,
) -> Run:
    """Scores the same pairs with two to ten runs: mode `compare`.

    Args:
        run_ids: The runs; the first is the reference.
        parameters: Others of the mode, such as `test_pairs` and `fasta`.
    """
    return run(
        "compare",
        run_ids=list(run_ids),
        **parameters,
    )


def predict(
    source: str | None = None,
    *,
    output: str | Path,
    **parameters: Any,
) -> Run:
    """Scores pairs, or all pairs of a FASTA, into a table: mode `predict`.

    For pairs in memory, see `Model.predict`.

    Args:
        source: A run ID, a registered model such as `models:/ppi@champion`, or `released:human`, for which
            None stands too.
        output: The table to write.
        parameters: Others of the mode, such as `pairs`, `all_pairs`, `fasta` and `top_k`.
    """
    return run(
        "predict",
        output=output,
        **(_of_source(source) if source else {}),
        **parameters,
    )


def embed(
    *,
    output: str | Path | None = None,
    **parameters: Any,
) -> Run:
    """Makes an embedding cache of a FASTA or a benchmark: mode `embed`.

    Args:
        output: The cache to write.
        parameters: Others of the mode, such as `fasta` and `embedder`.
    """
    return run("embed", output=output, **parameters)


def promote(
    run_id: str,
    registered_model: str,
    **parameters: Any,
) -> Run:
    """Registers a run's model, and gives it the alias if it is better: mode `promote`.

    Args:
        run_id: The training run.
        registered_model: A name in the model registry.
        parameters: Others of the mode, such as `alias` and `test_pairs`.

    Returns:
        The run of the promotion; `exit_code` is 3 if the model was not better.
    """
    return run(
        "promote",
        run_id=run_id,
        registered_model=registered_model,
        **parameters,
    )


def run(
    mode: str,
    *,
    run_name: str | None = None,
    experiment: str | None = None,
    progress: bool = True,
    **parameters: object,
) -> Run:
    """Runs any mode by its name.

    Args:
        mode: A mode or another name of it, such as `split` or `full_pipeline`.
        run_name: The name of the run; unset: made of what it does.
        experiment: The experiment of the run; unset: that of MLflow's settings.
        progress: Whether progress and log lines are shown.
        parameters: Those of the mode; None means "not given".

    Raises:
        UserError: the mode, a parameter or a file is wrong.
        TypeError: the mode has no such parameter.
    """
    known = {accepted for spec in describe_fields(find_mode(mode).config) for accepted in spec.names}
    for name in parameters:
        if name not in known:
            hint = nearest(name, known)
            raise TypeError(f"mode {mode} has no parameter {name!r}{f': {hint}' if hint else ''}")
    values = {name: _as_parameter(value) for name, value in parameters.items() if value is not None}
    with _messages(shown_on_screen=progress):
        result = execute_pipeline(mode, values, run_name=run_name or "", experiment=experiment or "")
    fasta, embeddings = values.get("fasta"), values.get("embeddings")
    return Run(
        run_id=result.run_id,
        mode=find_mode(mode).name,
        metrics=result.metrics,
        outputs=result.outputs,
        exit_code=result.exit_code,
        url=result.url,
        _fasta=str(fasta) if fasta else None,
        _embeddings=str(embeddings) if embeddings else None,
    )


def load_model(
    source: str = "released:human", *, fasta: str | Path | None = None, embeddings: str | Path | None = None
) -> Model:
    """Loads the best model of a run, or a registered one, to score pairs in memory.

    Args:
        source: The ID of a training run, a registered model such as `models:/ppi@champion`, or a model that
            the package carries.
        fasta: Sequences by which `Model.predict` also takes names of proteins.
        embeddings: An embedding cache, for the same; required by models of imported embeddings.

    Raises:
        UserError: no such run or model, a checkpoint that was altered, or a file that is wrong.
    """
    from ppi_train.checkpoints import read_checkpoint
    from ppi_train.data.fasta import read_fasta
    from ppi_train.modes.released import released_run_id
    from ppi_train.runs.checkpoints import resolve_candidate
    from ppi_train.runs.embedder import EmbeddingSettings
    from ppi_train.runs.options import EvaluatedRunOptions
    from ppi_train.serving import PairScorer

    named = _of_source(source)
    if "released" in named:
        named = {"run_id": released_run_id(named["released"])}
    resolved = resolve_candidate(EvaluatedRunOptions(**named))
    embedding = read_checkpoint(resolved.folder).description["embedding"]
    settings = EmbeddingSettings.of_recipe(embedding["recipe"], dtype=embedding["dtype"], device="cpu")
    scorer = PairScorer(
        resolved.folder,
        str(embeddings) if embeddings else None,
        None if embeddings else settings.checkpoint_folder(),
    )
    sequences = read_fasta(fasta).sequences if fasta and not embeddings else {}
    return Model(scorer, resolved.run.run_id, sequences)


def open_cache(path: str | Path) -> EmbeddingCache:
    """Opens an embedding cache, which `embed` or `import_embeddings` has made.

    Raises:
        CacheError: there is none, or it is damaged.
    """
    from ppi_train.embeddings.cache.reader import EmbeddingCache

    return EmbeddingCache(path)


def _of_source(source: str) -> dict[str, Any]:
    for prefix, name in (("models:/", "model_uri"), (RELEASED_PREFIX, "released")):
        if source.startswith(prefix):
            return {name: source.removeprefix(RELEASED_PREFIX)}
    return {"run_id": source}


def _as_parameter(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [_as_parameter(item) for item in value]
    return value


@contextmanager
def _messages(*, shown_on_screen: bool) -> Iterator[None]:
    """Shows log lines and progress on the standard error, or neither.

    A program that has set up logging of its own keeps it.
    """
    logger = logging.getLogger("ppi_train")
    before, handler = logger.level, None
    if shown_on_screen and not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(ShownFormatter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    elif not shown_on_screen:
        logger.setLevel(logging.ERROR)
    try:
        with progress_shown(shown_on_screen):
            yield
    finally:
        logger.setLevel(before)
        if handler:
            logger.removeHandler(handler)
