"""The table of all benchmarks: `python -m benchmarks [NAME ...]`, a name being a file of this folder."""

import importlib
import pkgutil
import sys

import benchmarks


def main() -> None:
    modules = {
        module.name: importlib.import_module(f"benchmarks.{module.name}")
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if module.name != "__main__"
    }
    names = [name for name, module in modules.items() if hasattr(module, "bench")]
    if unknown := sorted(set(sys.argv[1:]) - set(names)):
        sys.exit(f"no benchmark named {', '.join(unknown)}: choose from {', '.join(names)}")
    print("name | ours | peer | ratio | goal")
    for name in sys.argv[1:] or names:
        for row in modules[name].bench():
            print(f"{row.name} | {row.ours} | {row.peer} | {row.ratio:.4g} | {row.goal}", flush=True)


if __name__ == "__main__":
    main()
