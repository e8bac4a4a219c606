"""Posting where least is outstanding: the quick path carries more, and the data is there sooner."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric.base import Health
from roadbed.fabric.flows import Outcome, simulate
from roadbed.fabric.paths import Paths, choose
from roadbed.fabric.posting import Choice, Sender
from roadbed.fabric.routes import Routes
from tests.fabric.networks import small_hpn

FABRIC = small_hpn()
RATE = 25e9
MB = 1e6


def pair(qps: int = 2) -> Paths:
    """Queue pairs from card 0 to card 32, on disjoint paths."""
    nic = FABRIC.gpu_nic
    return choose(Routes(FABRIC), nic[:1], nic[32:33], policy="disjoint", qps=qps)


def slowed(paths: Paths, factor: float) -> Health:
    """The first connection's ToR uplink at a part of its rate."""
    health = Health.of(FABRIC)
    health.capacity[paths.links_of(0)[1]] = RATE * factor
    return health


def sent(paths: Paths, size: float, health: Health, choice: Choice, **how: Any) -> tuple[Outcome, Sender]:
    sender = Sender(paths, size, MB, choice=choice, **how)
    return simulate(FABRIC, programs=[sender], health=health), sender


def test_the_quick_path_carries_more_and_nobody_waits_for_the_slow_one() -> None:
    paths = pair()
    health = slowed(paths, 0.25)
    size = 400 * MB
    fewest, sender = sent(paths, size, health, "fewest")
    turns, _ = sent(paths, size, health, "turns")
    best = size / (1.25 * RATE)
    assert fewest.finish_s.max() == pytest.approx(best, rel=0.03)
    assert turns.finish_s.max() == pytest.approx(size / 2 / (0.25 * RATE), rel=0.05)
    assert sender.sent_bytes[1] / sender.sent_bytes[0] == pytest.approx(4, rel=0.1)


def test_equal_paths_carry_the_same() -> None:
    paths = pair(4)
    out, sender = sent(paths, 200 * MB, Health.of(FABRIC), "fewest")
    assert sender.sent_bytes.tolist() == pytest.approx([50 * MB] * 4)
    assert out.finish_s.max() == pytest.approx(200 * MB / (2 * RATE) + paths.latency_s.max(), rel=1e-6)


@given(st.floats(1, 9e6), st.integers(1, 4), st.integers(1, 5), st.sampled_from(["fewest", "turns"]))
@settings(max_examples=40, deadline=None)
def test_every_byte_is_sent_once(size: float, qps: int, depth: int, choice: Choice) -> None:
    out, sender = sent(pair(qps), size, Health.of(FABRIC), choice, depth=depth)
    assert out.sent_bytes.sum() == pytest.approx(size)
    assert np.isfinite(out.finish_s).all()
    assert sender.sent_bytes.sum() == pytest.approx(size)
    assert sender.connections.outstanding_bytes.max() == 0


@pytest.mark.parametrize(
    ("size", "message", "depth", "field"),
    [(0.0, MB, 2, "size_bytes"), (MB, -1.0, 2, "message_bytes"), (1e15, MB, 2, "message_bytes"), (MB, MB, 0, "paths")],
)
def test_what_can_not_be(size: float, message: float, depth: int, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        Sender(pair(), size, message, depth=depth)
    assert caught.value.field == field


def test_a_pair_without_a_way() -> None:
    health = Health.of(FABRIC)
    health.link_up[:] = False
    nic = FABRIC.gpu_nic
    lost = choose(Routes(FABRIC, health), nic[:1], nic[32:33])
    with pytest.raises(UsageError, match="lead somewhere"):
        Sender(lost, MB, MB)
