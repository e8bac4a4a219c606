"""Makers of the nouns router tests need."""

from collections.abc import Sequence
from typing import Any

from roadbed.router.account import MemoryAccount
from roadbed.router.base import Features, ReplicaInfo
from roadbed.router.core import RouterCore


def request(
    name: str,
    *,
    blocks: Sequence[int] = (),
    prompt: int = 0,
    output: int = 50,
    priority: int = 5,
    session: str | None = None,
    slo_ttft_s: float | None = None,
    deadline: float | None = None,
    stream: bool = True,
    adapter: str = "",
    model: str = "",
) -> Features:
    """A request of 64-token blocks."""
    return Features(
        request_id=name, blocks=list(blocks), block_tokens=64.0, prompt_tokens=prompt or max(1, 64 * len(blocks)),
        output_tokens=output, priority=priority, session=session, slo_ttft_s=slo_ttft_s, deadline=deadline,
        stream=stream, adapter=adapter, model=model,
    )  # fmt: skip


def info(
    slot: int, *, name: str = "", concurrency: int = 4, kv_tokens: int = 100_000, draining: bool = False, **can: Any
) -> ReplicaInfo:
    return ReplicaInfo(
        id=name or f"r{slot}", slot=slot, max_concurrency=concurrency, kv_tokens=kv_tokens, draining=draining, **can
    )


def router(
    num_replicas: int = 2,
    *,
    policy: str = "roadbed",
    account: MemoryAccount | None = None,
    worker: int = 0,
    max_queue: int = 8,
    concurrency: int = 4,
    publish_news: bool = False,
) -> RouterCore:
    """A core whose replicas are there since time 0."""
    core = RouterCore(
        account=(account or MemoryAccount()).view(worker), policy=policy, max_queue=max_queue, publish_news=publish_news
    )
    core.set_replicas([info(slot, concurrency=concurrency) for slot in range(num_replicas)], 0.0)
    return core
