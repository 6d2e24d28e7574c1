"""Runs train.py and analyze.py many times: everything is imported once, and each command line is a fork.

python worker.py    # JSON lines: {"script": ".../train.py", "words": [...], "seconds": 60}
                    # answers: {"status": 1, "seconds": 0.4, "output": "..."}
"""

import importlib
import json
import os
import runpy
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

STUDIES = [
    "correspondence",
    "doctor",
    "ensemble",
    "filters",
    "invariance",
    "layer_probe",
    "occlusion",
    "overlap",
]
STUDIES += ["report", "run", "sanity", "top_activations"]
MODULES = [
    "callbacks",
    "zfnet.data.caltech",
    "zfnet.data.voc",
    *(f"zfnet.studies.{name}" for name in STUDIES),
]


def become(script: str, words: list[str], file: int) -> None:
    """The forked child: the script with its words, what it writes into `file`, and its exit status."""
    os.setsid()
    os.dup2(file, 1)
    os.dup2(file, 2)
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


def run(script: str, words: list[str], seconds: float) -> dict[str, object]:
    """One command line, and the processor time that it took; a child that outlives `seconds` is killed, and its
    status is None."""
    with tempfile.TemporaryFile() as file:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            become(script, words, file.fileno())
        status, worked = None, seconds
        while time.monotonic() - start < seconds:
            done, code, usage = os.wait4(child, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(code)
                worked = usage.ru_utime + usage.ru_stime
                break
            time.sleep(0.02)
        else:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        file.seek(0)
        output = file.read().decode(errors="replace")
    return {"status": status, "seconds": round(worked, 2), "output": output}


if __name__ == "__main__":
    for module in MODULES:
        importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
