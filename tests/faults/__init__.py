"""The faults that stsd must survive, against the real daemon."""

import pytest

pytest.register_assert_rewrite("tests.faults.support")
