"""The table of all benchmarks: `python -m benchmarks [--tiny] [NAME ...]`, NAME is a file here."""

import importlib
import os
import pkgutil
import sys

import benchmarks


def main() -> None:
    asked = sys.argv[1:]
    if "--tiny" in asked:
        asked.remove("--tiny")
        # Set before any benchmark is imported, and for the processes of benchmarks.
        os.environ["ZFNET_BENCHMARKS"] = "tiny"
        importlib.import_module("torch").set_num_threads(1)
    modules = {
        module.name: importlib.import_module(f"benchmarks.{module.name}")
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if module.name != "__main__"
    }
    names = [name for name, module in modules.items() if hasattr(module, "bench")]
    if unknown := sorted(set(asked) - set(names)):
        sys.exit(f"no benchmark named {', '.join(unknown)}: choose from {', '.join(names)}")
    print("name | ours | peer | ratio | goal")
    for name in asked or names:
        for row in modules[name].bench():
            print(
                f"{row.name} | {row.ours} | {row.peer} | {row.ratio:.4g} | {row.goal}", flush=True
            )


if __name__ == "__main__":
    main()
