from roadbed.router.account import MemoryAccount
from roadbed.router.estimate import ReplicaModel
from roadbed.router.pool import Pool
from tests.router.requests import info


def pool_of(*infos, account: MemoryAccount | None = None) -> Pool:
    pool = Pool((account or MemoryAccount()).view())
    pool.set(list(infos), 64.0, 0.0)
    return pool


def slots(pool: Pool, context: int = 1, tried: tuple[int, ...] = ()) -> list[int]:
    return [replica.slot for replica in pool.candidates(context, tried)]


def test_candidates_are_open_have_room_and_were_not_tried() -> None:
    pool = pool_of(info(3), info(1), info(2, draining=True), info(0, concurrency=1))
    pool.charge(pool.by_slot[0], 0, 0, 0, 2)
    pool.charge(pool.by_slot[1], 0, 89_990, 0, 1)
    assert slots(pool, context=10) == [1, 3]
    assert slots(pool, context=11) == [3]
    assert slots(pool, tried=(3,)) == [1]
    assert not pool.any_untried({0, 1, 3})
    assert pool.any_untried({1, 3})


def test_the_free_mask_names_the_replicas_with_room() -> None:
    pool = pool_of(info(0, concurrency=1), info(1), info(2, draining=True))
    pool.charge(pool.by_slot[0], 0, 0, 0, 2)
    assert pool.free_mask() == 1 << pool.by_slot[1].bit
    assert pool.has_room()


def test_capacity_of_the_index_follows_the_cache_and_the_token_ratio() -> None:
    pool = pool_of(info(0, kv_tokens=6400))
    assert pool.prefix.capacities == [100]
    pool.set([info(0, kv_tokens=6400)], 32.0, 1.0)
    assert pool.prefix.capacities == [200]


def test_what_leaves_is_forgotten_when_idle_and_its_bit_recycled() -> None:
    account = MemoryAccount()
    pool = pool_of(info(0), info(1), account=account)
    gone = pool.by_slot[0]
    pool.prefix.insert(gone.bit, [1, 2], 0.0)
    pool.charge(gone, 5, 5, 5, 1)
    pool.set([info(1), info(2)], 64.0, 1.0)
    assert len(pool.prefix) == 0
    assert sorted(pool.by_slot) == [0, 1, 2]
    assert len(pool.prefix.lrus) == 2
    pool.charge(gone, -5, -5, -5, -1)
    assert sorted(pool.by_slot) == [1, 2]
    assert account.total(0) == [0, 0, 0, 0]


def test_a_second_failure_in_a_row_means_an_empty_cache() -> None:
    pool = pool_of(info(0), info(1))
    pool.prefix.insert(pool.by_slot[0].bit, [1], 0.0)
    pool.suspect(0, 0.0)
    assert len(pool.prefix) == 1
    assert slots(pool) == [1]
    pool.forgive(0.25)
    assert slots(pool) == [0, 1]
    pool.suspect(0, 1.0)
    assert len(pool.prefix) == 0
    pool.trust(pool.by_slot[0], 1.1)
    assert slots(pool) == [0, 1]
    pool.suspect(99, 1.0)


def test_replicas_of_a_kind_share_what_is_learned() -> None:
    service = ReplicaModel()
    pool = Pool(MemoryAccount().view(), service)
    service.observe_ttft(5.0, 1000, 0)
    learned = service.prefill_s
    pool.set([info(0, kind="fast"), info(1, kind="slow"), info(2, kind="slow")], 64.0, 0.0)
    first, second, third = (replica.typical for replica in pool.present)
    assert first is service
    assert second is third is not service
    assert second is not None
    assert second.prefill_s == learned, "a new kind starts from what is known"
    second.observe_ttft(50.0, 1000, 0)
    assert service.prefill_s == learned
    pool.set([info(0, kind="fast"), info(3, kind="slow")], 64.0, 1.0)
    assert pool.by_slot[3].typical is second, "kinds outlive their replicas"


def test_a_kind_that_left_is_forgotten_and_another_speaks_for_the_service() -> None:
    service = ReplicaModel()
    pool = Pool(MemoryAccount().view(), service)
    pool.set([info(0, kind="old")], 64.0, 0.0)
    pool.set([info(0, kind="old"), info(1, kind="new")], 64.0, 1.0)
    new = pool.by_slot[1].typical
    assert pool.typical is service is not new
    pool.set([info(1, kind="new")], 64.0, 2.0)
    assert pool.typical is new
    pool.set([], 64.0, 3.0)
    pool.set([info(2, kind="new")], 64.0, 4.0)
    assert pool.by_slot[2].typical is new, "scaled to zero and back, it is what it was"
    for generation in range(100):
        pool.set([info(2, name=f"r{generation}", kind=f"g{generation}")], 64.0, 5.0)
    assert len(pool._kinds) == 1
