"""Makers of ledger records."""

from roadbed.gateway.ledger.record import Begin, End


def begin(name: str, *, prompt: int = 11, at: float = 100.0) -> Begin:
    return Begin(
        request_id=name, at=at, key_id="k1", tenant="t1", model="m", service="chat", endpoint="/v1/chat/completions",
        prompt_tokens_estimate=prompt,
    )  # fmt: skip


def end(name: str, *, at: float = 101.0, completion: int = 5) -> End:
    return End(
        request_id=name, at=at, outcome="ok", status=200, replica="r0", num_tries=1, prompt_tokens=10, cached_tokens=4,
        completion_tokens=completion, estimated=False, ttft_s=0.1, total_s=1.0, overhead_s=0.0005, route="prefix",
        cost_pico=123,
    )  # fmt: skip
