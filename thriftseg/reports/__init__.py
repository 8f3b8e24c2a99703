"""What a run shows its user: tables, cost-quality plots, predictions on new video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import lazy_names
from thriftseg.reports.cost_quality import CostQualityPoint

if TYPE_CHECKING:
    from thriftseg.reports.cost_quality import plot_cost_quality
    from thriftseg.reports.prediction import predict
    from thriftseg.reports.published_tables import PublishedRow, PublishedTable, list_tables, load_table
    from thriftseg.reports.publishing import Publication, publish
    from thriftseg.reports.run_scores import RunScores, find_runs, read_run
    from thriftseg.reports.table_comparison import TableComparison, compare_table, configs_of
    from thriftseg.reports.table_figures import plot_comparison
    from thriftseg.reports.table_formats import comparison_csv, comparison_markdown, comparison_table
    from thriftseg.reports.tables import catalog_table, class_table, cost_quality_table

__all__ = [
    "CostQualityPoint",
    "Publication",
    "PublishedRow",
    "PublishedTable",
    "RunScores",
    "TableComparison",
    "catalog_table",
    "class_table",
    "compare_table",
    "comparison_csv",
    "comparison_markdown",
    "comparison_table",
    "configs_of",
    "cost_quality_table",
    "find_runs",
    "list_tables",
    "load_table",
    "plot_comparison",
    "plot_cost_quality",
    "predict",
    "publish",
    "read_run",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Publication": "publishing",
        "PublishedRow": "published_tables",
        "PublishedTable": "published_tables",
        "RunScores": "run_scores",
        "TableComparison": "table_comparison",
        "catalog_table": "tables",
        "class_table": "tables",
        "compare_table": "table_comparison",
        "comparison_csv": "table_formats",
        "comparison_markdown": "table_formats",
        "comparison_table": "table_formats",
        "configs_of": "table_comparison",
        "cost_quality_table": "tables",
        "find_runs": "run_scores",
        "list_tables": "published_tables",
        "load_table": "published_tables",
        "plot_comparison": "table_figures",
        "plot_cost_quality": "cost_quality",
        "predict": "prediction",
        "publish": "publishing",
        "read_run": "run_scores",
    },
)
