"""Lets code written for version 0.1 import modules and functions by their old names.

Importing an old module or function returns the current one with a DeprecationWarning. So does an
old keyword or attribute of a function or class decorated with `renamed`.
"""

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, TypeVar, cast

_Target = TypeVar("_Target")

MODULES = {
    "zfnet.analysis.blocks": "zfnet.analysis.occlusion.blocks",
    "zfnet.analysis.localisation": "zfnet.analysis.localization",
    "zfnet.analysis.pointing": "zfnet.analysis.localization",
    "zfnet.analysis.incremental": "zfnet.analysis.occlusion.incremental",
    "zfnet.analysis.trunk": "zfnet.analysis.occlusion.prefix",
    "zfnet.data.caltech": "zfnet.data.datasets.caltech",
    "zfnet.data.creatures.dice": "zfnet.data.creatures.rng",
    "zfnet.data.embedded": "zfnet.data.datasets.embedded",
    "zfnet.data.embedded_datasets": "zfnet.data.datasets.embedded",
    "zfnet.data.folds": "zfnet.data.splits",
    "zfnet.data.selection": "zfnet.data.subset",
    "zfnet.data.sources": "zfnet.data.datasets",
    "zfnet.data.voc": "zfnet.data.datasets.voc",
    "zfnet.deconv.swapping": "zfnet.deconv.mode",
    "zfnet.models.net": "zfnet.models.convnet",
    "zfnet.models.reading": "zfnet.models.introspection",
    "zfnet.studies.json_output": "zfnet.json_output",
    "zfnet.studies.progress_file": "zfnet.progress_file",
    "zfnet.studies.objects": "zfnet.studies.annotations",
    "zfnet.studies.parts": "zfnet.studies.annotations",
    "zfnet.studies.pointing": "zfnet.studies.annotations",
    "zfnet.studies.resuming": "zfnet.progress_file",
    "zfnet.studies.paper": "zfnet.studies.reference_results",
    "zfnet.studies.report.compared": "zfnet.studies.report.comparison",
    "zfnet.studies.report.making": "zfnet.studies.report.build",
    "zfnet.studies.report.missing": "zfnet.studies.report.missing_runs",
    "zfnet.studies.report.origins": "zfnet.studies.report.provenance",
    "zfnet.studies.report.pictures": "zfnet.studies.report.images",
    "zfnet.studies.results": "zfnet.json_output",
    "zfnet.studies.subject": "zfnet.model_on_data",
    "zfnet.training.average_precision": "zfnet.probing.average_precision",
    "zfnet.training.command_line": "zfnet.launch.command_line",
    "zfnet.training.explain": "zfnet.launch.error_messages",
    "zfnet.training.features": "zfnet.probing.feature_extraction",
    "zfnet.training.folders": "zfnet.launch.run_dirs",
    "zfnet.training.jobs": "zfnet.launch.sweep",
    "zfnet.training.kept": "zfnet.probing.feature_cache",
    "zfnet.training.launch": "zfnet.launch.entry_point",
    "zfnet.training.linear": "zfnet.probing.linear_probe",
    "zfnet.training.manifest": "zfnet.launch.manifest",
    "zfnet.training.memory": "zfnet.launch.malloc",
    "zfnet.training.newton": "zfnet.probing.solver",
    "zfnet.training.processes": "zfnet.launch.processes",
    "zfnet.training.ranks": "zfnet.launch.distributed",
    "zfnet.training.result": "zfnet.launch.results",
    "zfnet.training.stopping": "zfnet.launch.stopping",
    "zfnet.training.transfer": "zfnet.probing.transfer",
    "zfnet.viz.grids": "zfnet.viz.grid",
    "zfnet.viz.multiples": "zfnet.viz.small_multiples",
    "zfnet.viz.sheets": "zfnet.viz.page",
}
NAMES: dict[str, dict[str, str]] = {  # by current module: old names and current ones
    "zfnet.analysis": {"checks": "sanity_checks", "dead_maps": "dead_channels"},
    "zfnet.analysis.correspondence": {"masked": "mask_square", "hamming": "normalized_hamming"},
    "zfnet.analysis.filters": {"resolved": "can_resolve", "dead_maps": "dead_channels"},
    "zfnet.analysis.invariance": {"transformed": "transform"},
    "zfnet.analysis.localization": {
        "grown": "dilate",
        "smoothed": "smooth",
        "occlusion": "occlusion_map",
        "strongest": "strongest_units",
    },
    "zfnet.analysis.occlusion.blocks": {"tailed": "apply_op"},
    "zfnet.analysis.occlusion.prefix": {"trunk_of": "find_prefix", "Trunk": "Prefix"},
    "zfnet.analysis.overlap": {
        "shrunk": "shrink",
        "closely": "fine_correlation",
        "joined": "concatenate_pairs",
    },
    "zfnet.analysis.sanity": {
        "forced": "force_activation",
        "checks": "sanity_checks",
        "below": "layers_below",
    },
    "zfnet.data": {"Images": "ImageDataset"},
    "zfnet.data.datasets": {"stamp": "modification_stamp", "ManyLabels": "MultiLabelPhotos"},
    "zfnet.data.datasets.voc": {"ManyLabels": "MultiLabelPhotos"},
    "zfnet.data.exclusion": {"without": "drop_excluded"},
    "zfnet.data.image_store": {"Chosen": "Subset", "Images": "ImageDataset"},
    "zfnet.data.preprocessing": {"centre_crop": "center_crop", "CENTRE": "CENTER"},
    "zfnet.data.resizing": {"resized": "resize"},
    "zfnet.deconv": {"lot": "random_subset"},
    "zfnet.deconv.graph": {
        "traced": "trace_graph",
        "trouble": "find_trouble",
        "on_path": "nodes_on_path",
    },
    "zfnet.deconv.rules": {"Sliding": "WindowSpec"},
    "zfnet.deconv.mode": {"Swapped": "DeconvMode"},
    "zfnet.deconv.tracing": {
        "running": "traced_forward",
        "plan_of": "make_plan",
        "Traced": "ForwardTrace",
    },
    "zfnet.deconv.transposed": {"transposed": "transpose_convolution"},
    "zfnet.deconv.windows": {"gathered": "gather_windows", "beyond": "beyond_border"},
    "zfnet.launch.processes": {"die_with": "terminate_with_parent"},
    "zfnet.model_on_data": {"Subject": "ModelOnData"},
    "zfnet.models": {"edited": "apply_edit"},
    "zfnet.models.architectures": {"edited": "apply_edit"},
    "zfnet.models.eager": {
        "uncompiled": "force_eager",
        "not_checkpointed": "disable_checkpointing",
    },
    "zfnet.models.introspection": {
        "lot": "random_subset",
        "found": "find_modules",
        "evaluating": "eval_mode",
        "reading": "capture_outputs",
        "written": "user_module",
    },
    "zfnet.models.outputs": {"are_probabilities": "is_probabilities"},
    "zfnet.probing.feature_cache": {"Kept": "FeatureCache", "check_room": "check_disk_space"},
    "zfnet.probing.feature_extraction": {"kept_features": "cached_features"},
    "zfnet.probing.linear_probe": {
        "Readout": "LinearProbe",
        "Rotated": "GramFeatures",
        "fit_readout": "fit_linear_probe",
        "choose_strength": "choose_C",
        "chosen_strength": "choose_C",
    },
    "zfnet.probing.solver": {"minimised": "minimize"},
    "zfnet.probing.transfer": {
        "truth": "true_labels",
        "whole": "whole_data_set",
        "measured": "measure",
    },
    "zfnet.studies.annotations": {
        "known_masks": "object_masks",
        "knows_objects": "has_annotations",
        "from_csv": "read_parts",
        "located_by": "localization_scores",
        "pictures_with": "images_with_parts",
        "Chosen": "ImagesWithParts",
    },
    "zfnet.studies.ensemble": {
        "together": "combine",
        "lines": "table_lines",
        "member": "load_member",
    },
    "zfnet.studies.filters": {"Examined": "FilterReport", "examined": "examine"},
    "zfnet.studies.invariance": {"summarised": "summarize"},
    "zfnet.studies.layers": {
        "ends": "first_and_top",
        "middle_and_top": "last_convolution_and_top",
        "papers_numbers": "paper_numbers",
        "two_layers": "first_two_convolutions",
    },
    "zfnet.studies.overlap": {
        "compared": "compare",
        "searched": "search",
        "Alike": "Duplicate",
        "kept_small": "shrink_all",
    },
    "zfnet.studies.report.comparison": {"Compared": "Comparison"},
    "zfnet.studies.report.discovery": {"find": "find_runs", "run_in": "read_run"},
    "zfnet.studies.report.images": {"Print": "Image"},
    "zfnet.studies.report.measures": {"measured": "to_measure"},
    "zfnet.studies.report.missing_runs": {"missing": "find_missing", "completed": "change_command"},
    "zfnet.studies.report.runs": {"Found": "RunIndex", "shown": "relative_path"},
    "zfnet.studies.report.settings": {
        "ablation": "ablation_of",
        "label": "describe",
        "settings": "group_by_setting",
    },
    "zfnet.studies.report.transfer": {"named": "method_name", "transfers": "few_image_settings"},
    "zfnet.studies.run": {"subject_of": "load_model", "runs_of": "run_folders"},
    "zfnet.studies.top_activations": {"Excited": "TopPatches", "excited": "top_patches"},
    "zfnet.training.resume": {"Kept": "ResumePoint"},
    "zfnet.validation": {"declared": "declared_types", "described": "describe", "shown": "show"},
    "zfnet.viz": {"signed": "normalize_signed", "contrasted": "stretch_contrast", "tiled": "tile"},
    "zfnet.viz.figures": {"drawn": "draw"},
    "zfnet.viz.grid": {
        "signed": "normalize_signed",
        "contrasted": "stretch_contrast",
        "tiled": "tile",
        "fitted": "fit",
        "written": "draw_text",
        "bordered": "add_border",
        "framed": "add_frame",
        "centred": "center",
        "beside": "hstack",
        "above": "vstack",
        "flowing": "flow",
    },
}


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is called {new} now", DeprecationWarning, stacklevel=3)


class _Package(ModuleType):
    """A package that keeps its own names.

    Python makes a module that was imported an attribute of its package. The old module
    zfnet.analysis.pointing has the name of a function of zfnet.analysis.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        moved = isinstance(value, ModuleType) and f"{self.__name__}.{name}" in MODULES
        if not (moved and name in vars(self)):
            super().__setattr__(name, value)


class _Moved(Loader):
    """Loads the current module when an old name is imported."""

    def __init__(self, new: str) -> None:
        self.new = new

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        _warn(spec.name, self.new)
        sys.modules[spec.name.rpartition(".")[0]].__class__ = _Package
        module = importlib.import_module(self.new)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # importlib has replaced it by that of the old name


class OldNames(MetaPathFinder):
    """Finds the modules of version 0.1, and adds old names to current modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds a module by its old or current name, for Python's import system."""
        if fullname in MODULES:
            return ModuleSpec(fullname, _Moved(MODULES[fullname]))
        spec = PathFinder.find_spec(fullname, path) if fullname in NAMES else None
        if spec is None or spec.loader is None:
            return None
        names, execute = NAMES[fullname], spec.loader.exec_module

        def execute_and_alias(module: ModuleType) -> None:
            execute(module)

            def old(name: str) -> Any:
                if name not in names:
                    raise AttributeError(f"module {fullname!r} has no attribute {name!r}")
                _warn(f"{fullname}.{name}", names[name])
                return getattr(module, names[name])

            module.__getattr__ = old  # type: ignore[method-assign]

        spec.loader.exec_module = execute_and_alias  # type: ignore[method-assign]
        return spec


def renamed(**names: str) -> Callable[[_Target], _Target]:
    """Decorates a function or class so that old keywords and attributes still work.

    They issue a DeprecationWarning.

    Args:
        names: the current names by old name, as in `renamed(old="new")`.
    """

    def decorate(target: _Target) -> _Target:
        call: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
        of = cast(Any, target).__qualname__

        @functools.wraps(call)
        def with_old_names(*args: Any, **kwargs: Any) -> Any:
            for old in names.keys() & kwargs.keys():
                _warn(f"{old} of {of}", names[old])
                kwargs[names[old]] = kwargs.pop(old)
            return call(*args, **kwargs)

        if not isinstance(target, type):
            return cast(_Target, with_old_names)
        target.__init__ = with_old_names  # type: ignore[misc]
        for old, new in names.items():
            setattr(target, old, _old_attribute(f"{old} of {of}", new))
        return target

    return decorate


def _old_attribute(old: str, new: str) -> property:
    def get(self: Any) -> Any:
        _warn(old, new)
        return getattr(self, new)

    return property(get)


def install() -> None:
    """Installs `OldNames` before Python's own finders, once."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())
