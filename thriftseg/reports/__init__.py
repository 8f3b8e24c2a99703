"""What a run shows its user: tables, cost-quality plots, predictions on new video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import lazy_names
from thriftseg.reports.cost_quality import CostQualityPoint

if TYPE_CHECKING:
    from thriftseg.reports.cost_quality import plot_cost_quality
    from thriftseg.reports.prediction import predict
    from thriftseg.reports.tables import class_table, cost_quality_table

__all__ = ["CostQualityPoint", "class_table", "cost_quality_table", "plot_cost_quality", "predict"]

__getattr__ = lazy_names(
    __name__,
    {
        "class_table": "tables",
        "cost_quality_table": "tables",
        "plot_cost_quality": "cost_quality",
        "predict": "prediction",
    },
)
