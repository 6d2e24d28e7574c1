"""Starts and ends train.py and analyze.py: an error is reported in one line and an exit status.

    @hydra.main(...)
    def main(cfg):
        return reported(fit, cfg)

    launch(main)

The exit status is 0 for success, 1 for an error, and 128 plus the number of a signal. The
traceback of an unexpected error is written to the run's log.
"""

import atexit
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from zfnet.launch.command_line import normalize_words, read_arguments
from zfnet.launch.distributed import peer_error
from zfnet.launch.error_messages import explain
from zfnet.launch.processes import follow_parent, further_process
from zfnet.launch.stopping import Stopped, stop
from zfnet.versions.config_names import rename_keys

log = logging.getLogger(__name__)


class _Output(io.FileIO):
    """A file that ignores a closed pipe, as in `train.py | head`."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def launch(main: Callable[[], Any]) -> NoReturn:
    """Runs a main function and exits the process with its status.

    Args:
        main: the function that `hydra.main` decorated.
    """
    sys.stdout, sys.stderr = (_stream(stream) for stream in (sys.stdout, sys.stderr))
    follow_parent()
    stop.watch()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors, and `_tell` reports them
    status = _status(main)
    # As the interpreter does at exit: pools tell their workers to stop.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)  # skips freeing every object, which can take seconds


def _status(main: Callable[[], Any]) -> int:
    """Runs `main`, reports any error and returns the exit status."""
    try:
        read_arguments(sys.argv[1:])
        sys.argv[1:], notes = normalize_words(sys.argv[1:])
        for note in notes:
            print(f"{note}; the old name works until version 0.3", file=sys.stderr)
        if "sweep=status" in sys.argv[1:]:
            sys.argv.append("--multirun")  # the other overrides are those of a sweep
        main()
    except (Stopped, SIGTERMException, KeyboardInterrupt) as error:
        return _tell_stopped(error, None)
    except SystemExit as error:  # --help, or a sweep with failed jobs
        return error.code if isinstance(error.code, int) else 0
    except Exception as error:
        return _tell(error)
    return 0


def reported(run: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """Calls `run` with a config. Reports an error in the run's log and exits.

    Args:
        run: the function to call.
        cfg: the composed config. Old keys are renamed.

    Returns:
        The return value of `run`.

    Raises:
        Stopped: if a signal stopped the run.
        SystemExit: if the run failed.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return run(rename_config(cfg))
    except (Stopped, SIGTERMException, KeyboardInterrupt) as error:
        stopped = Stopped(_tell_stopped(error, folder) - 128)
        stopped.told = True
        raise stopped from error
    except Exception as error:
        sys.exit(_tell(error))


def rename_config(cfg: DictConfig) -> DictConfig:
    """Renames the old keys and values of a composed config, with a warning for each.

    Args:
        cfg: the composed config. Config files may contain old names.

    Returns:
        The config with current names.
    """
    values, notes = rename_keys(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
    for note in notes:
        log.warning("%s; the old name works until version 0.3", note)
    return OmegaConf.create(values, flags={"struct": True}) if notes else cfg


def _stream(stream: Any) -> Any:
    """Wraps a standard stream so that it accepts any text and ignores a closed pipe."""
    raw = _Output(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def _tell_stopped(error: BaseException, folder: Path | None) -> int:
    """Reports that a signal stopped the run, and returns the exit status."""
    stopped = error if isinstance(error, Stopped) else Stopped(stop.number or 2)
    if not stopped.told:
        remedy = f"; the same command with resume=true goes on in {folder}" if folder else ""
        _say(logging.WARNING, f"{stopped}{remedy}")
    return 128 + stopped.number


def _tell(error: Exception) -> int:
    """Reports why the run failed, and returns the exit status."""
    if stop.number is not None:  # an error caused by the stop itself
        return _tell_stopped(Stopped(stop.number), None)
    line, known = explain(error)
    if not known:
        line = f"the run failed: {peer_error(error) or line}"
    files = _files()
    if not known and files:
        line = f"{line} (the traceback is in {files[0].baseFilename})"
    if not known:
        text = "".join(traceback.format_exception(error)).rstrip()
        for handler in files:
            handler.handle(_record(logging.ERROR, text))
        if not files:
            print(text, file=sys.stderr)
    _say(logging.ERROR, line)
    return 1


def _say(level: int, line: str) -> None:
    """Writes a line to the run's log and the console.

    Additional processes of a run write to their own logs only.
    """
    record = _record(level, line)
    handlers = logging.getLogger().handlers
    if further_process():
        handlers = list(_files())
    for handler in handlers:
        handler.handle(record)
    if not logging.getLogger().handlers and not further_process():
        print(line, file=sys.stderr)


def _record(level: int, text: str) -> logging.LogRecord:
    return log.makeRecord("zfnet", level, __file__, 0, text, (), None)


def _files() -> list[logging.FileHandler]:
    return [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.FileHandler)
    ]
