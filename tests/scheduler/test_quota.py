"""Which trees of quotas make sense."""

import pytest

from roadbed.errors import UsageError
from roadbed.scheduler.quota import Quota, check_quotas


class TestCheck:
    @pytest.mark.parametrize(
        ("quotas", "words"),
        [
            ([Quota(name="a"), Quota(name="a")], "twice"),
            ([Quota(name="a", parent="z")], "no parent 'z'"),
            ([Quota(name="a", parent="b"), Quota(name="b", parent="a")], "own ancestor"),
            ([Quota(name="a", parent="a")], "own ancestor"),
            ([Quota(name="a", min={"gpu": 2}, max={"gpu": 1})], "min 2 and max 1"),
            ([Quota(name="a", min={"gpu": -1})], "min -1"),
            ([Quota(name="a", weight=0.0)], "weight 0.0"),
            ([Quota(name="a", weight=float("nan"))], "weight nan"),
            ([Quota(name="p", min={"gpu": 1}), Quota(name="a", parent="p", min={"gpu": 2})], "its children 2"),
        ],
    )
    def test_broken_trees(self, quotas: list[Quota], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            check_quotas(quotas)
