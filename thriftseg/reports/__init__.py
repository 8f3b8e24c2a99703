"""Results for the user: scores of predictions, published tables, cost-quality plots, published checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.reports import evaluate
    from thriftseg.reports.annotation.curves import (
        CurveGroup,
        MeanCurve,
        conclude_eva_vos,
        curve_table,
        plot_annotation_curves,
        read_curve,
        read_curve_groups,
        write_curve,
    )
    from thriftseg.reports.annotation.figure import plot_annotation_groups, plot_annotation_run
    from thriftseg.reports.annotation.page import AnnotationReport, write_annotation_report
    from thriftseg.reports.annotation.runs import (
        AnnotationRound,
        AnnotationRun,
        RunGroup,
        annotation_comparison,
        annotation_table,
        find_annotation_runs,
        group_runs,
        read_annotation_run,
    )
    from thriftseg.reports.cost_quality import CostQualityPoint, plot_cost_quality, read_cost_quality, read_runs
    from thriftseg.reports.label_tables import print_inspection, print_propagation, print_review
    from thriftseg.reports.planning import Forecast, Pilot, best_at, plan_table, plot_plan, read_pilots
    from thriftseg.reports.publishing.publish import Publication, publish
    from thriftseg.reports.run_scores import (
        RunScores,
        ScoreFile,
        find_runs,
        keep_runs,
        read_kept_runs,
        read_run,
        read_score_file,
        read_tests,
        write_scores,
    )
    from thriftseg.reports.scoring.layouts import FOLDER_LAYOUTS
    from thriftseg.reports.scoring.report import EvaluationReport
    from thriftseg.reports.scoring.tables import print_evaluation
    from thriftseg.reports.sweeps import SWEEP_LOG, SweepTask, sweep, sweep_table
    from thriftseg.reports.tables.comparison import ComparedRow, TableComparison, compare_table, remaining_commands
    from thriftseg.reports.tables.composing import ComposedRow, compose_row, find_row
    from thriftseg.reports.tables.figures import plot_comparison
    from thriftseg.reports.tables.formats import (
        comparison_csv,
        comparison_markdown,
        comparison_table,
        print_comparison,
        print_remaining,
    )
    from thriftseg.reports.tables.fragments import Fragment
    from thriftseg.reports.tables.published import PublishedRow, PublishedTable, list_tables, load_table
    from thriftseg.reports.tables.terminal import (
        catalog_table,
        class_table,
        cost_quality_table,
        metric_heading,
        print_table,
        ranking_table,
    )
    from thriftseg.reports.working_time import (
        TimedLabel,
        TimeGroup,
        WorkingTime,
        print_working_time,
        task_time,
        working_time,
    )

__getattr__, __dir__, __all__ = face(
    __name__,
    moved={
        "predict": "thriftseg.inference.predict",
    },
)
