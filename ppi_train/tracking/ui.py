"""Links into the MLflow UI, and its view of an experiment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow

from ppi_train.tracking.connection import is_conflict, without_secrets

# Without it the UI of a browser that is new to the server opens its pages for chats of language models.
_MODEL_TRAINING = "workflowType=machine_learning"
_KIND = "mlflow.experimentKind"
_SQLITE = "sqlite:///"

UI_ADDRESS = "http://127.0.0.1:5000"
"""Where `mlflow ui` listens unless it is given another port."""
VIEW = "ppi_train"
_VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
"""Tag of an experiment: a view of its runs, which the UI lists under `Views` and opens by a link."""
_COLUMNS = (
    "metrics.`val/auroc_best`",
    "metrics.`val/auprc_best`",
    "tags.`ppi.model`",
    "tags.`ppi.dataset`",
    "metrics.`test/auroc`",
    "metrics.`test/auprc`",
)
_TRIALS = "trials"
_CHARTS = ("val/auroc", "val/auprc", "val/loss", "train/loss")


def run_link(server: str, experiment_id: str, run_id: str) -> str:
    """The link of a run's page, among those of model training."""
    return f"{server}/#/experiments/{experiment_id}/runs/{run_id}?{_MODEL_TRAINING}"


def experiment_link(server: str, experiment_id: str, view: str = VIEW) -> str:
    """The link of an experiment's runs, in a saved view."""
    return f"{server}/#/experiments/{experiment_id}/runs?{_MODEL_TRAINING}&viewStateShareKey={quote(view)}"


def ui_command(uri: str) -> str:
    """The command that starts a UI of a store, anywhere."""
    if uri.startswith(_SQLITE):
        uri = _SQLITE + str(Path(uri.removeprefix(_SQLITE)).absolute())
    return f"mlflow ui --backend-store-uri {without_secrets(uri)}"


def show_results_first(client: mlflow.MlflowClient, experiment_id: str) -> None:
    """Marks an experiment as model training, and saves a view.

    By default MLflow assumes an experiment with language-model chats. A kind or a view that is there stays.
    """
    known = client.get_experiment(experiment_id).tags
    wanted = {_KIND: "custom_model_development", _VIEW_TAG: _view()}
    for tag, value in wanted.items():
        if tag not in known:
            try:
                client.set_experiment_tag(experiment_id, tag, value)
            except Exception as error:
                if not is_conflict(error):  # another run has set it meanwhile
                    raise


@dataclass(frozen=True, kw_only=True)
class TrialsView:
    """A view of the trials of a study: the best first, and a plot of parallel coordinates.

    Attributes:
        study: Its name, which the trials have in the tag `ppi.study`.
        parameters: The searched parameters, as runs log them.
        metrics: The objectives, as runs log them.
        descending: Whether more of the first objective is better.
    """

    study: str
    parameters: tuple[str, ...]
    metrics: tuple[str, ...]
    descending: bool

    @property
    def key(self) -> str:
        """What a link names the view by."""
        return f"{VIEW}.{self.study}"

    def save(self, client: mlflow.MlflowClient, experiment_id: str) -> None:
        """Saves the view in an experiment; it replaces one of the same study."""
        client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{self.key}", self._as_tag())

    def _as_tag(self) -> str:
        shown = [*(f"metrics.`{name}`" for name in self.metrics)]
        shown += [f"params.`{name}`" for name in self.parameters]
        parallel = {
            "uuid": "chart-parallel",
            "type": "PARALLEL",
            "metricSectionId": _TRIALS,
            "displayName": f"Trials of {self.study}",
            "selectedParams": list(self.parameters),
            "selectedMetrics": list(self.metrics),
            "showAllRuns": True,
            "deleted": False,
            "isGenerated": False,
        }
        charts = [parallel, *(_chart(name) for name in _CHARTS)]
        sections = [_TRIALS, *dict.fromkeys(name.partition("/")[0] for name in _CHARTS)]
        return _as_view(
            f"Sweep {self.study}",
            shown,
            sections,
            charts,
            # Without the runs of sweeps, which have no trial. Sorted by a metric, the UI does not nest runs.
            searchFilter=f"tags.`ppi.study` = '{self.study}' AND tags.`ppi.trial` LIKE '%'",
            orderByKey=shown[0],
            orderByAsc=not self.descending,
        )


def _view() -> str:
    """The view as MLflow 3 stores it, results first."""
    sections = list(dict.fromkeys(name.partition("/")[0] for name in _CHARTS))
    charts = [_chart(name) for name in _CHARTS]
    return _as_view("Results", _COLUMNS, sections, charts, orderByKey="attributes.start_time")


def _as_view(
    name: str, shown: Sequence[str], sections: Sequence[str], charts: Sequence[dict[str, Any]], **others: Any
) -> str:
    state = {
        **others,
        "selectedColumns": list(shown),
        "columnOrder": ["0", "attributes.`Run Name`", *shown, "runDateAndNestInfo", "duration"],
        "columnWidths": dict.fromkeys(shown, 100),
        "isAccordionReordered": True,  # else the sections are sorted by name
        "compareRunSections": [_section(section) for section in sections],
        "compareRunCharts": list(charts),
    }
    return json.dumps({"name": name, "createdAt": 0, "state": json.dumps(state)})


def _section(name: str) -> dict[str, Any]:
    return {
        "uuid": name,
        "name": name,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": True,
        **({"columns": 1, "cardHeight": 460} if name == _TRIALS else {}),
    }


def _chart(metric: str) -> dict[str, Any]:
    section, _, name = metric.partition("/")
    return {
        "uuid": f"chart-{metric}",
        "type": "LINE",
        "metricSectionId": section,
        "metricKey": metric,
        "displayName": name,
        "deleted": False,
        "isGenerated": True,
        "xAxisKey": "step",
        "yAxisKey": "metric",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "range": {},
        "yAxisExpressions": [],
        "selectedXAxisMetricKey": "",
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
