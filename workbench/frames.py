"""Tables, made without loading pandas before there is one to make: it takes as long to load as numba."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def frame(data: Any = None, **options: Any) -> pd.DataFrame:
    """Make a table.

    Parameters
    ----------
    data, **options
        As of `pandas.DataFrame`.

    Returns
    -------
    DataFrame
    """
    import pandas as pd

    return pd.DataFrame(data, **options)


def column(data: Any, **options: Any) -> pd.Series:
    """Make a column, or row, of a table.

    Parameters
    ----------
    data, **options
        As of `pandas.Series`.

    Returns
    -------
    Series
    """
    import pandas as pd

    return pd.Series(data, **options)
