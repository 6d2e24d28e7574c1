"""The report: every table and figure found in runs, beside the paper's numbers."""

from zfnet.studies.report.build import Report

__all__ = ["Report"]
