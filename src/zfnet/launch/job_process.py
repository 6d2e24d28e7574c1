"""Runs the process of a job to its end, and says why it ended without a result.

status = run_process(command, environment, locks, asked=stopping.exists)
reason(status, folder / "train.log", start=0)    # "killed by SIGKILL"
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from zfnet.launch.stopping import GRACE, SIGNALS, Stopped, stop


def run_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    locks: Sequence[int],
    asked: Callable[[], bool],
    grace: float = GRACE,
) -> int:
    """Runs a process, and returns its exit status.

    The process gets SIGTERM when it is asked to stop, and when submitit ends this process to
    requeue the job. If it is still running a few seconds after `grace`, it is killed together with
    its children. Signals to the sweep's process group do not reach it, because it has its own
    session.

    Args:
        command: the command line.
        environment: of the process.
        locks: file descriptors that it inherits.
        asked: whether it should stop.
        grace: in seconds.
    """
    process = subprocess.Popen(command, env=environment, pass_fds=locks, start_new_session=True)

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    stop.before_forced.append(kill)
    try:
        while not asked():
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
        process.terminate()
        process.wait(timeout=grace + 5)
    except subprocess.TimeoutExpired:
        pass  # killed below
    except SystemExit as error:
        if not isinstance(error, Stopped):  # submitit's
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=grace + 5)
        raise
    finally:
        stop.before_forced.remove(kill)
        kill()  # children that are left, or the process itself after an exception
        process.wait()
    return process.returncode


def reason(status: int, written: Path, start: int) -> str:
    """Returns why a process ended without a result.

    Args:
        status: its exit status; negative for a signal.
        written: its log file.
        start: the length of the log before the process started, in bytes.

    Returns:
        The signal, the last line of the log after `start`, or the exit status.
    """
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    for number in SIGNALS:
        if status == 128 + number:
            return f"stopped by {number.name}"
    text = written.read_bytes()[start:].decode(errors="replace") if written.exists() else ""
    last = text.rstrip().rpartition("\n")[2]
    return last.partition("] - ")[2] or last or f"exit status {status}"
