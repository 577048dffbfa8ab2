"""Tables are pandas's, and pandas is loaded for the first of them."""

import subprocess
import sys

import pandas as pd

from workbench.frames import column, frame


def test_importing_the_package_does_not_load_pandas():
    asked = "import sys, workbench; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=300)
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr


def test_tables_are_pandas_own():
    pd.testing.assert_frame_equal(frame({"a": [1, 2]}, index=[3, 4]), pd.DataFrame({"a": [1, 2]}, index=[3, 4]))
    pd.testing.assert_series_equal(column([1, 2], name="a"), pd.Series([1, 2], name="a"))
    assert frame().empty
