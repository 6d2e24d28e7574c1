"""How train.py and analyze.py start, and how they end: by one line and an exit status.

    @hydra.main(...)
    def main(cfg): return reported(fit, cfg)

    launch(main)

0 is success, 1 a mistake or a fault, 130 the end by SIGINT, 143 by SIGTERM. The traceback of a
fault goes into the run's log."""

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
from zfnet.versions import rename_keys

log = logging.getLogger(__name__)


class _Output(io.FileIO):
    """A file that takes all that is written, also when nobody reads it any more (`train.py |
    head`)."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def launch(main: Callable[[], Any]) -> NoReturn:
    """Runs `main`, which Hydra has decorated, and ends the process."""
    sys.stdout, sys.stderr = (_stream(stream) for stream in (sys.stdout, sys.stderr))
    follow_parent()
    stop.watch()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # it raises, and the line is written here
    status = _status(main)
    threading._shutdown()  # type: ignore[attr-defined]  # as at the interpreter's own end: pools tell their workers to stop
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)  # to free all memory, object by object, takes seconds that a stop may not have


def _status(main: Callable[[], Any]) -> int:
    """The exit status, when all has been said."""
    try:
        read_arguments(sys.argv[1:])
        sys.argv[1:], notes = normalize_words(sys.argv[1:])
        for note in notes:
            print(f"{note}; the old name works until version 0.3", file=sys.stderr)
        main()
    except (Stopped, SIGTERMException, KeyboardInterrupt) as error:
        return _tell_stopped(error, None)
    except SystemExit as error:  # --help, or a sweep with jobs that failed
        return error.code if isinstance(error.code, int) else 0
    except Exception as error:
        return _tell(error)
    return 0


def reported(run: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """What `run` returns. Where it fails, the line is in the run's log, and the process ends with
    its status."""
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
    """A composed config in today's names, with a warning for each old one: config files may have
    them."""
    values, notes = rename_keys(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
    for note in notes:
        log.warning("%s; the old name works until version 0.3", note)
    return OmegaConf.create(values, flags={"struct": True}) if notes else cfg


def _stream(stream: Any) -> Any:
    """A standard stream that takes any text, in any encoding, whether or not somebody reads it."""
    raw = _Output(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def _tell_stopped(error: BaseException, folder: Path | None) -> int:
    """Says that a signal has ended the run, and returns the exit status."""
    stopped = error if isinstance(error, Stopped) else Stopped(stop.number or 2)
    if not stopped.told:
        remedy = f"; the same command with resume=true goes on in {folder}" if folder else ""
        _say(logging.WARNING, f"{stopped}{remedy}")
    return 128 + stopped.number


def _tell(error: Exception) -> int:
    """Says why the run failed, and returns the exit status."""
    if stop.number is not None:  # whatever fails on the way down
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
    """A line in the run's log and on the console; of a run's further processes in their logs
    alone."""
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
