"""train.py and analyze.py, run many times: each command line is a fork of one process.

    commands = Commands(working_directory)
    done = commands.run("train.py", ["seed=1"])  # status, processor time, standard output and error
    commands.close()

`python commands.py` is that process. It reads and writes JSON, a line for each command.
"""

import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0  # seconds until a command is killed


def environment(threads: int | None) -> dict[str, str]:
    """That of a command without a GPU: so many threads an operation, and what `tests` holds can be
    imported."""
    found = os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
    }
    found.pop("OMP_NUM_THREADS", None)
    return found | ({"OMP_NUM_THREADS": str(threads)} if threads else {})


class Ended(NamedTuple):
    """How a command line ended."""

    status: int | None  # None: it was killed because it took too long
    seconds: float  # of processor time
    output: str
    errors: str


class Commands:
    """Runs command lines one after the other, without a GPU, each operation on one thread.

    Args:
        folder: the working directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = subprocess.Popen(
            [sys.executable, __file__], cwd=folder, env=environment(1),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(
        self,
        script: str,
        words: Sequence[str],
        patience: float = PATIENCE,
        folder: Path | None = None,
    ) -> Ended:
        """Runs `script`, a file at the top of the repository, with `words` and the environment of
        this moment.

        It runs in `folder`, if that is given, and for `patience` seconds at most.
        """
        assert self._server.stdin
        assert self._server.stdout
        asked = [
            str(ROOT / script),
            list(words),
            patience,
            environment(1),
            str(folder or self.folder),
        ]
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        return Ended(**json.loads(self._server.stdout.readline()))

    @property
    def pid(self) -> int:
        """The parent of every command."""
        return self._server.pid

    def close(self) -> None:
        """Ends the process. It has nothing to tidy up."""
        self._server.kill()
        self._server.communicate()


def import_everything() -> None:
    """What a command may import, so that its fork has it."""
    import timm  # noqa: F401

    import callbacks  # noqa: F401
    import zfnet

    for module in pkgutil.walk_packages(zfnet.__path__, "zfnet."):
        importlib.import_module(module.name)


def become(script: str, words: list[str], output: int, errors: int) -> None:
    """In a forked child: the script with its words. It ends with the script's exit status."""
    os.setsid()
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = [script, *words]
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def fork(
    script: str, words: list[str], patience: float, environment: dict[str, str], folder: str
) -> dict[str, Any]:
    """One command line; a child that outlives `patience` is killed, and its status is None."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            sys.path.insert(0, folder)  # for modules of the user's own, beside the script
            os.environ.clear()
            os.environ.update(environment)
            tempfile.tempdir = None  # the environment says where it is
            become(script, words, output.fileno(), errors.fileno())
        status, seconds = None, patience
        while time.monotonic() - start < patience:
            done, code, usage = os.wait4(child, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(code)
                seconds = usage.ru_utime + usage.ru_stime
                break
            time.sleep(0.02)
        else:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        texts = {}
        for name, file in (("output", output), ("errors", errors)):
            file.seek(0)
            texts[name] = file.read().decode(errors="replace")
    return {"status": status, "seconds": round(seconds, 2), **texts}


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    import_everything()
    for line in sys.stdin:
        print(json.dumps(fork(*json.loads(line))), flush=True)
