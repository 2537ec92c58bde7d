"""The command line: `ppi-train MODE --name value ...`, and the commands of `mlflow run`.

The options come from the config classes. Nothing slow is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

import click

from ppi_train.config.fields import FieldSpec, describe_fields
from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import load_config, required_parameters
from ppi_train.errors import ConfigError, UserError, shown
from ppi_train.io.terminal import ShownFormatter, ending_signals, leave_lost_terminal, open_closed_streams
from ppi_train.models.registry import model_defaults
from ppi_train.modes import MODES, Mode, execute_pipeline, find_mode, refuse_several_processes

PATIENCE = 5.0
_SET_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of Linux
_SETTINGS = {"token_normalize_func": lambda token: token.replace("-", "_"), "max_content_width": 110}
CONFIG_HELP = "YAML file of parameters; those given on the command line take precedence."
# The order of the help; a section that is not named here follows under its own name.
HEADINGS = {
    "data": "Data",
    "network": "Downloaded network",
    "split": "Split",
    "embedding": "Embedding",
    "embedder": "Language model behind the embedder",
    "model": "Model",
    "training": "Training",
    "scheduler": "Learning rate schedule",
    "finetune": "Finetuning",
    "compute": "Device and seed",
    "evaluation": "Evaluation",
    "prediction": "Prediction",
    "explanation": "Explanation",
    "serving": "Serving",
    "registry": "Model registry",
    "run": "Run",
    "tracking": "Tracking",
}


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM and SIGHUP, so that the run ends KILLED and not RUNNING."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = signal.Signals(number)


class _ModeGroup(click.Group):
    """The command `ppi-train`: the modes by name, made only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [name for mode in MODES.values() for name in mode.names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            return mode_command(cmd_name.replace("-", "_"))
        except ConfigError as error:
            if ctx.resilient_parsing:  # a shell that completes a line
                return None
            sys.exit(_refuse(error))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Modes"):
            formatter.write_dl([(mode.name, mode.summary) for mode in MODES.values()])
        with formatter.section("Other names"):
            formatter.write_dl(
                [(alias, f"the same as {mode.name}") for mode in MODES.values() for alias in mode.aliases]
            )


class _ModeCommand(click.Command):
    """The command of a mode, whose help shows the options in groups and an example."""

    def __init__(self, name: str, mode: Mode) -> None:
        self._mode, self._groups = mode, option_groups(mode)
        super().__init__(
            name,
            params=[option for options in self._groups.values() for option in options],
            help=f"{mode.summary}.",
            context_settings={
                **_SETTINGS,
                "ignore_unknown_options": True,  # they are reported with all other problems
                "allow_extra_args": True,
            },
        )

    def invoke(self, ctx: click.Context) -> None:
        sys.exit(run_mode(str(self.name), ctx.params | _unknown_options(ctx.args)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        help_option = self.get_help_option(ctx)
        for heading, options in self._groups.items():
            shown_options = [*options, help_option] if heading == "Other" and help_option else options
            records = [record for option in shown_options if (record := option.get_help_record(ctx))]
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        words = [f"--{word.replace('=', ' ')}" for word in self._mode.example.split()]
        with formatter.section("Example"):
            formatter.write(f"{'':>{formatter.current_indent}}{' '.join([ctx.command_path, *words])}\n")


def mode_command(name: str) -> click.Command:
    """The command of a mode, with options from its config class.

    All options are text. The config class and not click converts them, so that mistakes in the command line
    and in the config file are reported together and in the same way.

    Raises:
        ConfigError: there is no mode of this name or alias.
    """
    return _ModeCommand(name, find_mode(name))


def option_groups(mode: Mode) -> dict[str, list[click.Option]]:
    """The options of a mode by the heading of the help under which they stand."""
    required, by_model = required_parameters(mode.config), model_defaults()
    groups: dict[str, list[click.Option]] = {heading: [] for heading in ("Required", *HEADINGS.values())}
    for spec in describe_fields(mode.config):
        note = required.get(spec.name) or _default(spec, by_model.get(spec.name, {}))
        help_text = " ".join([spec.rule.help, *(f"Also: {alias}." for alias in spec.rule.aliases)])
        help_text = f"{help_text}  [{note}]" if note else help_text
        heading = HEADINGS.get(spec.section, spec.section.capitalize())
        options = groups.setdefault("Required" if spec.name in required else heading, [])
        metavar = "|".join(spec.rule.choices) or spec.kind.upper()
        options.append(click.Option([f"--{spec.name}"], default="", help=help_text, metavar=metavar))
        options += [click.Option([f"--{alias}"], default="", hidden=True) for alias in spec.rule.aliases]
    groups["Other"] = [click.Option(["--config"], default="", help=CONFIG_HELP, metavar="PATH")]
    return {heading: options for heading, options in groups.items() if options}


def _default(spec: FieldSpec, by_model: Mapping[str, object]) -> str:
    """What the help says of a default; empty where unset has a meaning that the help text gives."""
    if spec.default is None and by_model:
        return "default: " + ", ".join(f"{model} {value}" for model, value in by_model.items())
    if spec.default is None or spec.default == "":
        return ""
    if isinstance(spec.default, bool):
        return f"default: {str(spec.default).lower()}"
    return f"default: {','.join(spec.default) if isinstance(spec.default, tuple) else spec.default}"


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
    open_closed_streams()
    handler = logging.StreamHandler()
    handler.setFormatter(ShownFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("alembic", "mlflow.system_metrics", "mlflow.store.db.utils", "mlflow.pyfunc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # the caller reports failures
    shutdown = _Shutdown()
    for number in ending_signals():
        signal.signal(number, shutdown)
    _end_with_mlflow_run()
    try:
        config = _config(mode, values)
        _import(mode)
        return execute_pipeline(mode, config).exit_code
    except UserError as error:
        return _refuse(error)
    except Terminated as error:
        _say(f"stopped by {error.number.name}")
        return 128 + error.number
    except KeyboardInterrupt:
        _say("stopped by Ctrl-C")
        return 130
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and not _is_ours(error.name or ""):
            return _refuse(_half_installed(error))
        _say(shown(traceback.format_exc()))
        return 1


def _import(mode: str) -> None:
    """Imports what a mode needs, without looking for garbage, and chooses Arrow's allocator.

    The imports of torch and MLflow make two million objects that stay. To look through them for garbage after
    every 700, as is the default, takes more than a tenth of a short run's time.
    """
    if sys.platform == "linux":  # Arrow's own choice, mimalloc, keeps 40 MB more, and reads tables slower
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    gc.disable()
    with suppress(Exception):  # the mode itself imports them again, and reports what is wrong
        find_mode(mode).load()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def _end_with_mlflow_run() -> None:
    """Makes Linux end this process when its parent `mlflow run` dies.

    The process gets a SIGTERM. `mlflow run` does not pass one on: `kill` on it would leave a training process
    behind unnoticed. Only Linux can do this, and only for a direct child, which a command is with
    `--env-manager local`.
    """
    if sys.platform == "linux" and b"mlflow" in _command_of_parent():
        ctypes.CDLL(None).prctl(_SET_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM)


def _command_of_parent() -> bytes:
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return b""


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
        refuse_several_processes(find_mode(mode))
        config, warnings = load_config(find_mode(mode).config, values, config_file=config_file or None)
    except UserError as error:
        _mark_failed(str(error), find_mode(mode).names)
        raise
    for warning in warnings:
        logging.getLogger(__name__).warning("%s", warning)
    return config


def _mark_failed(message: str, mode_names: tuple[str, ...]) -> None:
    """Marks the run that `mlflow run` made for a mode as FAILED.

    It must not stay RUNNING, though no pipeline has started with it.
    """
    if not os.environ.get("MLFLOW_RUN_ID"):
        return
    from ppi_train.tracking.run import mark_failed

    try:
        mark_failed(message, mode_names)
    except UserError as error:
        _say(f"warning: {error}")


def _refuse(error: UserError) -> int:
    _say(f"error: {error}")
    return error.exit_code


def _say(text: str) -> None:
    """Prints the last words of a command, whose exit code tells the same if nobody reads them any more."""
    with suppress(OSError):  # a terminal that is gone, or a pipe such as `| head` has left
        click.echo(text, err=True)


class _Shutdown:
    """Signal handler of Ctrl-C, SIGTERM and SIGHUP.

    It raises, and then ignores further signals for a while, in which the run uploads the rest and ends.
    """

    def __init__(self) -> None:
        self._raised_at: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            leave_lost_terminal()
        if self._raised_at is not None and time.monotonic() - self._raised_at < PATIENCE:
            return  # on Ctrl-C, which we receive too, `mlflow run` also sends a SIGTERM
        self._raised_at = time.monotonic()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(number)


main = _ModeGroup(
    "ppi-train",
    help="Train, compare and promote protein-protein interaction models, every run tracked in MLflow.",
    epilog="Parameters of a mode: ppi-train MODE --help",
    subcommand_metavar="MODE [OPTIONS]",
    context_settings=_SETTINGS,
)
