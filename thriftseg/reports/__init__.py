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
    from thriftseg.reports.tables import catalog_table, class_table, cost_quality_table

__all__ = [
    "CostQualityPoint",
    "Publication",
    "PublishedRow",
    "PublishedTable",
    "catalog_table",
    "class_table",
    "cost_quality_table",
    "list_tables",
    "load_table",
    "plot_cost_quality",
    "predict",
    "publish",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Publication": "publishing",
        "PublishedRow": "published_tables",
        "PublishedTable": "published_tables",
        "catalog_table": "tables",
        "class_table": "tables",
        "cost_quality_table": "tables",
        "list_tables": "published_tables",
        "load_table": "published_tables",
        "plot_cost_quality": "cost_quality",
        "predict": "prediction",
        "publish": "publishing",
    },
)
