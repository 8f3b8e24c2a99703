"""One-to-one assignment by shortest augmenting paths."""

from __future__ import annotations

import numpy as np

from thriftseg.arrays import Float64Array, Int64Array


def best_assignment(scores: Float64Array) -> list[int]:
    """Give every column a row of its own so that the total score is largest.

    The method is the Hungarian one in the form of Jonker and Volgenant ("A Shortest Augmenting Path Algorithm for Dense
    and Sparse Linear Assignment Problems", Computing 38, 1987), O(columns^2 * rows).

    Args:
        scores: Finite scores, (rows, columns), with at least as many rows as columns.

    Returns:
        The row of each column.

    Raises:
        ValueError: There are fewer rows than columns, or a score is not finite.

    Example:
        >>> best_assignment(np.array([[0.9, 0.8], [0.7, 0.1], [0.0, 0.2]]))
        [1, 0]
    """
    rows, columns = scores.shape
    if rows < columns or not np.isfinite(scores).all():
        raise ValueError(f"expected finite scores with no more columns than rows, found {scores.shape}")
    column_of, row_price, column_price = np.full(rows + 1, -1), np.zeros(rows + 1), np.zeros(columns)
    for column in range(columns):
        column_of[rows] = column  # a row that does not exist: the place to start from
        _augment(-scores, column_of, row_price, column_price)
    return [int(np.flatnonzero(column_of[:rows] == column)[0]) for column in range(columns)]


def _augment(cost: Float64Array, column_of: Int64Array, row_price: Float64Array, column_price: Float64Array) -> None:
    """Find a row for the column at the place to start from; others change rows where that costs less."""
    rows = len(cost)
    row, seen = rows, np.zeros(rows + 1, np.bool_)
    slack, came_from = np.full(rows, np.inf), np.full(rows, rows)
    while column_of[row] >= 0:
        seen[row] = True
        column, unseen = column_of[row], ~seen[:rows]
        reduced = cost[:, column] - column_price[column] - row_price[:rows]
        closer = unseen & (reduced < slack)
        slack[closer], came_from[closer] = reduced[closer], row
        row = int(np.argmin(np.where(unseen, slack, np.inf)))
        step = slack[row]
        column_price[column_of[seen]] += step
        row_price[seen] -= step
        slack[unseen] -= step
    while row != rows:
        column_of[row] = column_of[came_from[row]]
        row = int(came_from[row])
