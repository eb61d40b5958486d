"""Gaussian elimination with row pivoting, as straight arithmetic: of numbers, arrays and tensors, one entry each.

Compiled code emits its instructions with the same functions. Rows are swapped by selects, so that each path has its own
pivots. Source: G. H. Golub, C. F. Van Loan, "Matrix Computations", 2013, sec. 3.2 and 3.4.
"""

from . import math as sm

__all__: list[str] = []


def factored(matrix, where=sm.where):
    """(the factors L and U of a matrix, rows of entries, in one, U's diagonal inverted; which rows were swapped)."""
    m, n, swaps = [list(row) for row in matrix], len(matrix), []
    for c in range(n):
        for i in range(c + 1, n):
            larger = abs(m[i][c]) > abs(m[c][c])
            swaps.append(larger)
            for j in range(c, n):
                m[c][j], m[i][j] = where(larger, m[i][j], m[c][j]), where(larger, m[c][j], m[i][j])
        m[c][c] = 1.0 / m[c][c]
        for i in range(c + 1, n):
            m[i][c] = m[i][c] * m[c][c]
            for j in range(c + 1, n):
                m[i][j] = m[i][j] - m[i][c] * m[c][j]
    return m, swaps


def solved(factors, right, where=sm.where):
    """The solution of a system of equations, whose matrix is `factored`, for the entries of a right-hand side."""
    (m, swaps), x = factors, list(right)
    n, swapped = len(x), iter(swaps)
    for c in range(n):
        for i in range(c + 1, n):
            larger = next(swapped)
            x[c], x[i] = where(larger, x[i], x[c]), where(larger, x[c], x[i])
        for i in range(c + 1, n):
            x[i] = x[i] - m[i][c] * x[c]
    for c in reversed(range(n)):
        for j in range(c + 1, n):
            x[c] = x[c] - m[c][j] * x[j]
        x[c] = x[c] * m[c][c]
    return x
