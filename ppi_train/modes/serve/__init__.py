"""The `serve` mode: answers requests with a model, and shows a page for a few proteins.

It runs until it is stopped, by Ctrl-C or SIGTERM, and then ends as a finished run.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import uvicorn

from ppi_train.config.loading import logged_parameters
from ppi_train.errors import ConfigError
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.serve.page import PageModel
from ppi_train.modes.serve.routes import add_page, refuse_other_hosts
from ppi_train.runs.checkpoints import ResolvedCheckpoint, resolve_candidate
from ppi_train.runs.configs import ServeConfig
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.lineage import code_version
from ppi_train.runs.options import ServingOptions
from ppi_train.runs.training_pairs import calibration_prevalence
from ppi_train.serving import PairScorer
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.runs import needed_model_of
from ppi_train.tracking.scoring_app import scoring_app

logger = logging.getLogger(__name__)


def run(config: ServeConfig, tracked: TrackedRun) -> PipelineResult:
    """Serves MLflow's scoring interface and the page, until it is stopped.

    Raises:
        ConfigError: the address cannot be listened on.
        TrackingError, CheckpointError: the model is not available, or was altered.
    """
    resolved = resolve_candidate(config.evaluated)
    model_id = needed_model_of(resolved.run, remedy="serve another run")
    page = page_model(resolved)
    with _listening(config.serving) as listener:
        app = scoring_app(model_id)
        add_page(app, page, per_minute=config.serving.requests_per_minute)
        if _is_loopback(listener):
            refuse_other_hosts(app)
        tracked.identify(model=page.name, evaluated_run_id=resolved.run.run_id, code_version=code_version())
        tracked.log_parameters(logged_parameters(config))
        url = "http://{}:{}".format(*listener.getsockname()[:2])
        tracked.describe(f"Serves {resolved.run} at {url}.")
        logger.info("model: %s", resolved.run)
        logger.info("the page: %s/   the scoring interface: %s/invocations   to stop: Ctrl-C", url, url)
        _serve_until_stopped(app, listener)
    logger.info("stopped, after %d requests of the page", page.answered)
    metrics = {"serve/page_requests": float(page.answered)}
    tracked.log_metrics(metrics)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics)


def page_model(resolved: ResolvedCheckpoint) -> PageModel:
    """The model of a checkpoint, loaded for the page.

    Raises:
        CheckpointError, TrackingError: its embedder is not available.
    """
    description = resolved.read().description
    embedding = description["embedding"]
    settings = EmbeddingSettings.of_recipe(embedding["recipe"], dtype=embedding["dtype"], device="cpu")
    return PageModel(
        name=str(description["model"]["name"]),
        run_id=resolved.run.run_id,
        prevalence=calibration_prevalence(resolved.run),
        scorer=PairScorer(resolved.folder, None, settings.checkpoint_folder()),
    )


@contextmanager
def _listening(options: ServingOptions) -> Iterator[socket.socket]:
    """A socket that listens, before anything is loaded.

    Raises:
        ConfigError: it cannot, with the reason.
    """
    try:
        family = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        raise ConfigError(
            "the address cannot be listened on",
            where="host and port",
            got=f"{options.host}:{options.port}, {error.strerror}",
            remedy="name another port, such as port=0 for a free one",
        ) from None
    with listener:
        if not _is_loopback(listener):
            logger.warning(
                "%s can be reached from other machines, by anybody: there is no password", options.host
            )
        yield listener


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


class _Server(uvicorn.Server):
    """A server that leaves signals to the command, and its socket to whoever opened it."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets  # uvicorn closes them before it has stopped to listen on them, and then fails
        await super().shutdown()


def _serve_until_stopped(app: object, listener: socket.socket) -> None:
    server = _Server(uvicorn.Config(app, log_level="warning", access_log=False))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, args=([listener],), name="server")
    thread.start()
    while thread.is_alive():  # beyond a second signal too: the thread uses the listener to its end
        try:
            thread.join(0.5)  # in steps, so that a signal is seen
        except KeyboardInterrupt:  # SIGTERM and SIGHUP too
            logger.info("stopping")
            server.force_exit = server.should_exit  # a second signal waits for no request
            server.should_exit = True
