"""Quota accounts: fair shares, admission, and the relation of who may take from whom."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.scheduler.accounts import QuotaTree, divide
from roadbed.scheduler.quota import (
    NO_LIMIT,
    QUOTA_GUARANTEE,
    QUOTA_LENT,
    QUOTA_MAX,
    QUOTA_UNKNOWN,
    Quota,
)

CAPACITY = {"gpu": 16_000, "cpu": 64_000, "H100": 8_000, "A100": 8_000}


def gpus(num: int) -> tuple[int, int]:
    return (num * 1000, 0)


def tree(*quotas: Quota) -> QuotaTree:
    return QuotaTree(quotas, CAPACITY)


class TestDivide:
    def test_guarantees_first_then_by_weight(self) -> None:
        assert divide(10, [4, 0, 0], [NO_LIMIT] * 3, [4, 100, 100], [1, 1, 2], [True] * 3) == [4, 2, 4]

    def test_what_a_lender_does_not_ask_for_goes_to_others(self) -> None:
        assert divide(10, [6, 0], [NO_LIMIT] * 2, [1, 100], [1, 1], [True, True]) == [1, 9]

    def test_who_lends_nothing_keeps_its_guarantee(self) -> None:
        assert divide(10, [6, 0], [NO_LIMIT] * 2, [1, 100], [1, 1], [False, True]) == [6, 4]

    def test_guarantees_shrink_with_the_cluster(self) -> None:
        assert divide(5, [6, 4], [NO_LIMIT] * 2, [9, 9], [1, 1], [True, True]) == [3, 2]

    def test_nobody_has_more_than_its_max(self) -> None:
        assert divide(10, [0, 0], [3, NO_LIMIT], [9, 9], [5, 1], [True, True]) == [3, 7]

    @given(
        st.integers(0, 10_000),
        st.lists(
            st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 9000), st.floats(0.1, 9)),
            min_size=1,
            max_size=6,
        ),
    )
    def test_shares(self, total: int, parts: list[tuple[int, int, int, float]]) -> None:
        mins, maxs = [low for low, *_ in parts], [low + more for low, more, *_ in parts]
        requests, weights = [ask for *_, ask, _ in parts], [weight for *_, weight in parts]
        got = divide(total, mins, maxs, requests, weights, [True] * len(parts))
        asked = [min(ask, most) for ask, most in zip(requests, maxs, strict=True)]
        assert sum(got) <= total
        assert all(0 <= each <= ask for each, ask in zip(got, asked, strict=True))
        due = [min(low, ask) for low, ask in zip(mins, asked, strict=True)]
        if sum(due) <= total:
            assert all(each >= low for each, low in zip(got, due, strict=True))
            left = total - sum(got)
            assert left <= len(parts) * len(parts) or got == asked  # work-conserving, but for rounding


class TestAdmission:
    def test_max_holds_on_the_whole_path(self) -> None:
        accounts = tree(Quota(name="p", max={"gpu": 4000}), Quota(name="a", parent="p"), Quota(name="b", parent="p"))
        accounts.charge("a", gpus(3), True, 1, 0)
        assert accounts.refusal("b", gpus(1), True) == ""
        assert accounts.refusal("b", gpus(2), True) == QUOTA_MAX
        assert accounts.never("b", gpus(5)) == "p"
        assert accounts.never("b", gpus(4)) == ""

    def test_what_is_not_lent_is_left_alone_until_it_is_used(self) -> None:
        accounts = tree(Quota(name="a", min={"gpu": 6000}, lending=False), Quota(name="b"))
        assert accounts.refusal("b", gpus(10), True) == ""
        assert accounts.refusal("b", gpus(11), True) == QUOTA_LENT
        accounts.charge("a", gpus(6), True, 1, 0)
        accounts.charge("b", gpus(9), True, 1, 0)
        assert accounts.refusal("b", gpus(1), True) == ""

    def test_a_lender_can_keep_part_of_it(self) -> None:
        accounts = tree(Quota(name="a", min={"gpu": 6000}), Quota(name="b"))
        assert accounts.refusal("b", gpus(16), True) == ""
        assert accounts.keep("a", "gpu", 2000)
        assert not accounts.keep("a", "gpu", 2000)
        assert accounts.refusal("b", gpus(15), True) == QUOTA_LENT
        assert accounts.refusal("b", gpus(14), True) == ""
        assert accounts.keep("a", "gpu", 99_000)  # never more than it is guaranteed
        assert accounts.refusal("b", gpus(10), True) == ""

    def test_what_can_not_be_stopped_leaves_guarantees_alone(self) -> None:
        accounts = tree(Quota(name="a", min={"gpu": 6000}), Quota(name="b", min={"gpu": 4000}))
        assert accounts.refusal("b", gpus(10), False) == ""  # 6 of the 16 nobody is guaranteed
        assert accounts.refusal("b", gpus(11), False) == QUOTA_GUARANTEE
        assert accounts.refusal("b", gpus(11), True) == ""

    def test_without_guarantees_nothing_is_in_the_way(self) -> None:
        accounts = tree(Quota(name="a"), Quota(name="b"))
        accounts.charge("a", gpus(8), False, 1, 0)
        assert accounts.refusal("b", gpus(8), False) == ""

    def test_a_quota_that_is_gone_admits_nothing(self) -> None:
        assert tree(Quota(name="a")).refusal("gone", gpus(1), True) == QUOTA_UNKNOWN

    def test_chips_are_counted_where_somebody_names_them(self) -> None:
        accounts = tree(Quota(name="a", max={"H100": 2000}), Quota(name="b"))
        assert accounts.names == ("gpu", "cpu", "H100")
        accounts.charge("a", accounts.vector(1000, 0, {"H100": 1000}), True, 1, 0)
        assert accounts.chips_with_room("a", 1000, ("A100", "H100")) == ("A100", "H100")
        assert accounts.chips_with_room("a", 2000, ("A100", "H100")) == ("A100",)

    def test_chips_are_a_guarantee_of_gpus(self) -> None:
        accounts = tree(Quota(name="a", min={"H100": 3000, "A100": 1000}))
        assert accounts.standing("a").min["gpu"] == 4000


class TestMayStop:
    def pair(self, **more: object) -> QuotaTree:
        on = {"preempt_siblings": True, **more}
        return tree(Quota(name="a", min={"gpu": 8000}, **on), Quota(name="b", min={"gpu": 4000}, **on))  # type: ignore[arg-type]

    def test_guaranteed_takes_from_borrowed(self) -> None:
        accounts = self.pair()
        accounts.charge("b", gpus(6), True, 1, 0)
        assert accounts.may_stop("a", gpus(8), "b", higher=False)
        assert not accounts.may_stop("a", gpus(9), "b", higher=True)  # it would borrow itself
        assert not accounts.may_stop("a", gpus(8), "b", higher=True, taken=gpus(2))  # b gave back what it borrowed

    def test_nobody_takes_what_is_guaranteed(self) -> None:
        accounts = self.pair()
        accounts.charge("b", gpus(4), True, 1, 0)
        assert not accounts.may_stop("a", gpus(1), "b", higher=True)

    def test_only_who_may(self) -> None:
        accounts = self.pair(preempt_siblings=False)
        accounts.charge("b", gpus(6), True, 1, 0)
        assert not accounts.may_stop("a", gpus(1), "b", higher=True)

    def test_priority_across_children_spares_guarantees(self) -> None:
        accounts = tree(
            Quota(name="p", preempt_children=True), Quota(name="a", parent="p"), Quota(name="b", parent="p")
        )
        accounts.charge("b", gpus(6), True, 1, 0)
        assert accounts.may_stop("a", gpus(1), "b", higher=True)
        assert not accounts.may_stop("a", gpus(1), "b", higher=False)

    def test_a_look_at_the_own_path_tells_who_need_not_ask(self) -> None:
        accounts = self.pair()
        assert accounts.may_stop_any("a", gpus(8))
        assert not accounts.may_stop_any("a", gpus(9))
        assert accounts.may_stop_any("a", gpus(9), fair=True)
        assert not self.pair(preempt_siblings=False).may_stop_any("a", gpus(1), fair=True)
        assert not accounts.may_stop_any("gone", gpus(1))
        below = tree(Quota(name="p", preempt_children=True), Quota(name="a", parent="p"), Quota(name="b", parent="p"))
        assert below.may_stop_any("a", gpus(99))

    def test_work_of_a_quota_that_is_gone_is_nobodys(self) -> None:
        assert self.pair().may_stop("a", gpus(1), "gone", higher=False)
        assert not self.pair().may_stop("gone", gpus(1), "a", higher=True)

    @given(
        st.tuples(st.integers(0, 16), st.integers(0, 16)),
        st.tuples(st.integers(0, 8), st.integers(0, 8)),
        st.tuples(st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.5, 1.0, 3.0])),
        st.integers(1, 8),
        st.integers(1, 8),
        st.booleans(),
    )
    @settings(max_examples=300)
    def test_nobody_takes_back_what_was_just_taken(
        self,
        used: tuple[int, int],
        mins: tuple[int, int],
        weights: tuple[float, float],
        mine: int,
        theirs: int,
        fair: bool,
    ) -> None:
        """The relation has no cycle of two: after a took from b for a request, b may not take that place back for what
        it lost, whatever the shares were (priorities equal; strict priority can't be a cycle either)."""
        accounts = tree(
            Quota(name="a", min={"gpu": mins[0] * 1000}, weight=weights[0], preempt_siblings=True),
            Quota(name="b", min={"gpu": mins[1] * 1000}, weight=weights[1], preempt_siblings=True),
        )
        accounts.charge("a", gpus(used[0]), True, 1, 0)
        accounts.charge("b", gpus(used[1]), True, 1, 0)
        theirs = min(theirs, used[1])
        if not theirs or not accounts.may_stop("a", gpus(mine), "b", higher=False, losing=gpus(theirs), fair=fair):
            return
        assert accounts.may_stop_any("a", gpus(mine), fair=fair)
        accounts.charge("b", gpus(theirs), True, -1, 0)
        accounts.charge("a", gpus(mine), True, 1, 0)
        assert not accounts.may_stop("b", gpus(theirs), "a", higher=False, losing=gpus(mine), fair=fair)


class TestOrder:
    def test_who_is_below_its_guarantee_goes_first(self) -> None:
        accounts = tree(Quota(name="a", min={"gpu": 8000}), Quota(name="b"))
        for name in "ab":
            accounts.want(name, gpus(16), 1)
            accounts.charge(name, gpus(4), True, 1, 0)
        assert accounts.order("a", 0) < accounts.order("b", 0)
        accounts.charge("a", gpus(9), True, 1, 0)  # 8 guaranteed and half of the other 8 are its fair share
        assert accounts.order("b", 0) < accounts.order("a", 0)

    def test_weight_counts_above_guarantees(self) -> None:
        accounts = tree(Quota(name="a", weight=3.0), Quota(name="b"))
        for name in "ab":
            accounts.want(name, gpus(16), 1)
            accounts.charge(name, gpus(3), True, 1, 0)
        assert accounts.fair() == {"a": [12_000, 0], "b": [4000, 0]}
        assert accounts.order("a", 0) < accounts.order("b", 0)

    def test_past_use_moves_the_order_and_fades(self) -> None:
        accounts = tree(Quota(name="a", half_life_s=100.0), Quota(name="b", half_life_s=100.0))
        accounts.charge("a", gpus(8), True, 1, 0)
        accounts.charge("a", gpus(8), True, -1, 100.0)
        assert accounts.order("b", 100.0) < accounts.order("a", 100.0)
        first = accounts.order("a", 100.0)[1]
        assert first == pytest.approx(0.25)  # half of the way to 8 of 16
        assert accounts.order("a", 200.0)[1] == pytest.approx(first / 2)
        assert accounts.refusal("a", gpus(16), True) == ""  # never what it may use

    def test_standing(self) -> None:
        accounts = tree(Quota(name="a", min={"gpu": 2000}, max={"gpu": 8000}))
        accounts.charge("a", (3000, 500), True, 1, 0)
        accounts.want("a", gpus(9), 1)
        standing = accounts.standing("a")
        assert standing.used == {"gpu": 3000, "cpu": 500}
        assert standing.waiting == {"gpu": 9000}
        assert (standing.min, standing.max) == ({"gpu": 2000}, {"gpu": 8000})
        assert standing.fair["gpu"] == 8000
        assert standing.borrowing

    @given(st.lists(st.tuples(st.sampled_from("abcz"), st.integers(0, 6), st.integers(0, 3)), max_size=30))
    def test_what_is_remembered_is_what_would_be_worked_out(self, steps: list[tuple[str, int, int]]) -> None:
        def make() -> QuotaTree:
            return tree(
                Quota(name="p", min={"gpu": 6000}), Quota(name="a", parent="p", min={"gpu": 4000}),
                Quota(name="b", parent="p"), Quota(name="c", weight=2.0, max={"gpu": 9000}),
            )  # fmt: skip

        accounts = make()
        for at, (name, num, what) in enumerate(steps):
            if what == 0:
                accounts.want(name, gpus(num), 1)
            elif what == 1:  # a start: what was wanted is used
                accounts.want(name, gpus(num), -1)
                accounts.charge(name, gpus(num), True, 1, at)
            elif what == 2:
                held = accounts.nodes[name].used[0] if name in accounts.nodes else 0
                accounts.charge(name, (min(held, num * 1000), 0), True, -1, at)
            else:
                accounts.resize({"gpu": 4000 * num, "cpu": 0})
            fresh = make()
            fresh.resize(dict(zip(accounts.names, accounts.capacity, strict=True)))
            for node in accounts.nodes.values():
                fresh.nodes[node.quota.name].used[:] = node.used
                fresh.nodes[node.quota.name].wanted[:] = node.wanted
            assert accounts.fair() == fresh.fair()
            assert [accounts.order(each, at) for each in "abc"] == [fresh.order(each, at) for each in "abc"]


def test_leaves() -> None:
    accounts = tree(Quota(name="p"), Quota(name="a", parent="p"))
    assert accounts.is_leaf("a")
    assert not accounts.is_leaf("p")
    assert not accounts.is_leaf("z")
