from roadbed.router.account import MemoryAccount


def test_a_single_worker_has_no_others() -> None:
    view = MemoryAccount().view()
    view.write(3, 1, 2, 3, 4)
    assert view.others([3]) is None


def test_others_are_everyone_but_me() -> None:
    account = MemoryAccount()
    first, second, third = account.view(0), account.view(1), account.view(2)
    first.write(0, 1, 10, 100, 1000)
    second.write(0, 2, 20, 200, 2000)
    third.write(1, 5, 5, 5, 5)
    assert first.others([0, 1]) == [[2, 20, 200, 2000], [5, 5, 5, 5]]
    assert third.others([1, 0]) == [[0, 0, 0, 0], [3, 30, 300, 3000]]
    assert account.total(0) == [3, 30, 300, 3000]


def test_totals_only_grow() -> None:
    account = MemoryAccount()
    view = account.view()
    view.count(0, 10, 4, 2)
    view.count(0, 1, 0, 1)
    assert account.totals[0] == [2, 11, 4, 3]
