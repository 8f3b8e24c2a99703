"""What a run shows its user: tables, cost-quality plots, predictions on new video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import lazy_names
from thriftseg.reports.cost_quality import CostQualityPoint

if TYPE_CHECKING:
    from thriftseg.reports.annotation.curves import (
        CurveGroup,
        curve_table,
        plot_annotation_curves,
        read_curve,
        read_curve_groups,
        write_curve,
    )
    from thriftseg.reports.annotation.figure import plot_annotation_groups, plot_annotation_run
    from thriftseg.reports.annotation.page import AnnotationReport, write_annotation_report
    from thriftseg.reports.annotation.runs import (
        AnnotationRun,
        RunGroup,
        annotation_comparison,
        annotation_table,
        find_annotation_runs,
        group_runs,
        read_annotation_run,
    )
    from thriftseg.reports.cost_quality import plot_cost_quality
    from thriftseg.reports.publishing.publish import Publication, publish
    from thriftseg.reports.run_scores import RunScores, find_runs, read_run
    from thriftseg.reports.tables.comparison import TableComparison, compare_table, configs_of
    from thriftseg.reports.tables.figures import plot_comparison
    from thriftseg.reports.tables.formats import comparison_csv, comparison_markdown, comparison_table
    from thriftseg.reports.tables.published import PublishedRow, PublishedTable, list_tables, load_table
    from thriftseg.reports.tables.terminal import catalog_table, class_table, cost_quality_table, print_table

__all__ = [
    "AnnotationReport",
    "AnnotationRun",
    "CostQualityPoint",
    "CurveGroup",
    "Publication",
    "PublishedRow",
    "PublishedTable",
    "RunGroup",
    "RunScores",
    "TableComparison",
    "annotation_comparison",
    "annotation_table",
    "catalog_table",
    "class_table",
    "compare_table",
    "comparison_csv",
    "comparison_markdown",
    "comparison_table",
    "configs_of",
    "cost_quality_table",
    "curve_table",
    "find_annotation_runs",
    "find_runs",
    "group_runs",
    "list_tables",
    "load_table",
    "plot_annotation_curves",
    "plot_annotation_groups",
    "plot_annotation_run",
    "plot_comparison",
    "plot_cost_quality",
    "print_table",
    "publish",
    "read_annotation_run",
    "read_curve",
    "read_curve_groups",
    "read_run",
    "write_annotation_report",
    "write_curve",
]

__getattr__ = lazy_names(
    __name__,
    {
        "AnnotationReport": "annotation.page",
        "AnnotationRun": "annotation.runs",
        "CurveGroup": "annotation.curves",
        "Publication": "publishing.publish",
        "PublishedRow": "tables.published",
        "PublishedTable": "tables.published",
        "RunGroup": "annotation.runs",
        "RunScores": "run_scores",
        "TableComparison": "tables.comparison",
        "annotation_comparison": "annotation.runs",
        "annotation_table": "annotation.runs",
        "catalog_table": "tables.terminal",
        "class_table": "tables.terminal",
        "compare_table": "tables.comparison",
        "comparison_csv": "tables.formats",
        "comparison_markdown": "tables.formats",
        "comparison_table": "tables.formats",
        "configs_of": "tables.comparison",
        "cost_quality_table": "tables.terminal",
        "curve_table": "annotation.curves",
        "find_annotation_runs": "annotation.runs",
        "find_runs": "run_scores",
        "group_runs": "annotation.runs",
        "list_tables": "tables.published",
        "load_table": "tables.published",
        "plot_annotation_curves": "annotation.curves",
        "plot_annotation_groups": "annotation.figure",
        "plot_annotation_run": "annotation.figure",
        "plot_comparison": "tables.figures",
        "plot_cost_quality": "cost_quality",
        "print_table": "tables.terminal",
        "publish": "publishing.publish",
        "read_annotation_run": "annotation.runs",
        "read_curve": "annotation.curves",
        "read_curve_groups": "annotation.curves",
        "read_run": "run_scores",
        "write_annotation_report": "annotation.page",
        "write_curve": "annotation.curves",
    },
)
