"""Shared code of the commands: options, error messages and exit codes.

The options come from the schema. No slow import here, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from types import FrameType

import click

from entry_points.parent import end_with_mlflow_run
from ppi_train.config.fields import FieldSpec, describe_fields
from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import load_config
from ppi_train.errors import UserError, shown
from ppi_train.runs.configs import MODES

PATIENCE = 5.0
CONFIG_HELP = "YAML file of parameters; those given on the command line take precedence."


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM, so that the run ends KILLED and not RUNNING."""


def _help_text(spec: FieldSpec) -> str:
    if spec.default is None or spec.default == "":
        return spec.rule.help
    default = ",".join(spec.default) if isinstance(spec.default, tuple) else spec.default
    return f"{spec.rule.help} [default: {default}]"


def mode_command(mode: str) -> click.Command:
    """The click command of a run mode, with options from its schema.

    All options are text. The schema and not click converts them, so that mistakes in the command line and
    in the config file are reported together and in the same way.
    """
    schema = MODES[mode]
    parameters: list[click.Parameter] = [click.Option(["--config"], default="", help=CONFIG_HELP)]
    for spec in describe_fields(schema):
        metavar = "|".join(spec.rule.choices) or spec.kind.upper()
        parameters.append(
            click.Option([f"--{spec.name}"], default="", help=_help_text(spec), metavar=metavar)
        )

    @click.pass_context
    def callback(context: click.Context, /, **values: str) -> None:
        sys.exit(run_mode(mode, values | _unknown_options(context.args)))

    return click.Command(
        mode,
        params=parameters,
        callback=callback,
        help=schema.__doc__,
        context_settings={
            "ignore_unknown_options": True,  # they are reported with all other problems
            "allow_extra_args": True,
            "token_normalize_func": lambda token: token.replace("-", "_"),
            "max_content_width": 110,
        },
    )


def _unknown_options(arguments: list[str]) -> dict[str, str]:
    return {word.lstrip("-").partition("=")[0]: "?" for word in arguments if word.startswith("--")} | {
        word: "?" for position, word in enumerate(arguments) if _stands_alone(arguments, position)
    }


def _stands_alone(arguments: list[str], position: int) -> bool:
    """Whether a word is neither an option nor the value of one."""
    before = arguments[position - 1] if position else ""
    takes_value = before.startswith("--") and "=" not in before
    return not arguments[position].startswith("--") and not takes_value


def run_mode(mode: str, values: dict[str, str]) -> int:
    """Builds the config and runs the mode; returns the exit code."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Shown("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("alembic", "mlflow.system_metrics", "mlflow.store.db.utils", "mlflow.pyfunc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # the caller reports failures
    shutdown = _Shutdown()
    signal.signal(signal.SIGTERM, shutdown)
    signal.signal(signal.SIGINT, shutdown)
    end_with_mlflow_run()
    try:
        config = _config(mode, values)
        from ppi_train.modes.execute import execute_pipeline

        return execute_pipeline(mode, config).exit_code
    except UserError as error:
        return _refuse(error)
    except KeyboardInterrupt as error:
        click.echo(f"stopped by {'SIGTERM' if isinstance(error, Terminated) else 'Ctrl-C'}", err=True)
        return 143 if isinstance(error, Terminated) else 130
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and not _is_ours(error.name or ""):
            return _refuse(_half_installed(error))
        click.echo(shown(traceback.format_exc()), err=True)
        return 1


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("ppi_train", "entry_points", "")


def _half_installed(error: ModuleNotFoundError) -> UserError:
    """The error for a Python environment that lacks a package.

    If the installation of an environment is interrupted, MLflow uses what there is in every later run.
    """
    return UserError(
        "the Python environment is not complete: a package that this project needs is not installed",
        where=sys.prefix,
        got=f"no module named {error.name}",
        remedy="if MLflow made this environment, delete the folder and run again; "
        "otherwise: pip install -e . in the project's folder",
    )


def _config(mode: str, values: dict[str, str]) -> ModeConfig:
    config_file = values.pop("config", "")
    try:
        config, warnings = load_config(MODES[mode], values, config_file=config_file or None)
    except UserError as error:
        _mark_failed(str(error))
        raise
    for warning in warnings:
        logging.getLogger(__name__).warning("%s", warning)
    return config


def _mark_failed(message: str) -> None:
    """Marks the run that `mlflow run` made as FAILED.

    It must not stay RUNNING, though no pipeline has started with it.
    """
    if not os.environ.get("MLFLOW_RUN_ID"):
        return
    from ppi_train.tracking.run import mark_failed

    try:
        mark_failed(message)
    except UserError as error:
        click.echo(f"warning: {error}", err=True)


def _refuse(error: UserError) -> int:
    click.echo(f"error: {error}", err=True)
    return error.exit_code


class _Shown(logging.Formatter):
    """Formats log lines without passwords and control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


class _Shutdown:
    """Signal handler of Ctrl-C and SIGTERM.

    It raises, and then ignores further signals for a while, in which the run uploads the rest and ends.
    """

    def __init__(self) -> None:
        self._raised_at: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._raised_at is not None and time.monotonic() - self._raised_at < PATIENCE:
            return  # on Ctrl-C, which we receive too, `mlflow run` also sends a SIGTERM
        self._raised_at = time.monotonic()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
