"""What a run shows its user: tables, cost-quality plots, predictions on new video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import lazy_names
from thriftseg.reports.cost_quality import CostQualityPoint

if TYPE_CHECKING:
    from thriftseg.reports.annotation_curves import (
        CurveGroup,
        curve_table,
        plot_annotation_curves,
        read_curve,
        read_curve_groups,
        write_curve,
    )
    from thriftseg.reports.annotation_figure import plot_annotation_groups, plot_annotation_run
    from thriftseg.reports.annotation_page import AnnotationReport, write_annotation_report
    from thriftseg.reports.annotation_run import (
        AnnotationRun,
        RunGroup,
        annotation_comparison,
        annotation_table,
        find_annotation_runs,
        group_runs,
        read_annotation_run,
    )
    from thriftseg.reports.cost_quality import plot_cost_quality
    from thriftseg.reports.prediction import predict
    from thriftseg.reports.published_tables import PublishedRow, PublishedTable, list_tables, load_table
    from thriftseg.reports.publishing import Publication, publish
    from thriftseg.reports.run_scores import RunScores, find_runs, read_run
    from thriftseg.reports.table_comparison import TableComparison, compare_table, configs_of
    from thriftseg.reports.table_figures import plot_comparison
    from thriftseg.reports.table_formats import comparison_csv, comparison_markdown, comparison_table
    from thriftseg.reports.tables import catalog_table, class_table, cost_quality_table, print_table

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
    "predict",
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
        "AnnotationReport": "annotation_page",
        "AnnotationRun": "annotation_run",
        "CurveGroup": "annotation_curves",
        "Publication": "publishing",
        "PublishedRow": "published_tables",
        "PublishedTable": "published_tables",
        "RunGroup": "annotation_run",
        "RunScores": "run_scores",
        "TableComparison": "table_comparison",
        "annotation_comparison": "annotation_run",
        "annotation_table": "annotation_run",
        "catalog_table": "tables",
        "class_table": "tables",
        "compare_table": "table_comparison",
        "comparison_csv": "table_formats",
        "comparison_markdown": "table_formats",
        "comparison_table": "table_formats",
        "configs_of": "table_comparison",
        "cost_quality_table": "tables",
        "curve_table": "annotation_curves",
        "find_annotation_runs": "annotation_run",
        "find_runs": "run_scores",
        "group_runs": "annotation_run",
        "list_tables": "published_tables",
        "load_table": "published_tables",
        "plot_annotation_curves": "annotation_curves",
        "plot_annotation_groups": "annotation_figure",
        "plot_annotation_run": "annotation_figure",
        "plot_comparison": "table_figures",
        "plot_cost_quality": "cost_quality",
        "predict": "prediction",
        "print_table": "tables",
        "publish": "publishing",
        "read_annotation_run": "annotation_run",
        "read_curve": "annotation_curves",
        "read_curve_groups": "annotation_curves",
        "read_run": "run_scores",
        "write_annotation_report": "annotation_page",
        "write_curve": "annotation_curves",
    },
)
