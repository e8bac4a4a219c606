"""The failure report: one whole page with the timeline, the levels and the events of every network."""

import math
from html.parser import HTMLParser

from roadbed.fabric.outage import Outage
from roadbed.twin.fabric_break_report import render

NAN = math.nan
ONE = Outage(
    fabric="hpn7", op="allreduce", algorithm="ring", gpus=64, bytes=1 << 30, dual_tor=True,
    events=[(10.0, "nic-0:tor-1 is down"), (10.5, "routes follow nic-0:tor-1")], seconds=[2e12] * 10 + [1e12, 2e12],
    before=2e12, during=1.5e12, after=NAN, rerouted=2e12, stalled_s=0.5, longest_stall_s=0.5, job_lost_s=None,
    iterations=1234, iteration_s=0.0159, cut_off=0, peak_queue_bytes=27_000.0, peak_queue_link="tor-1:nic-0",
    num_events=10,
)  # fmt: skip
OTHER = Outage(
    fabric="single<tor>", op="allreduce", algorithm="ring", gpus=64, bytes=1 << 30, dual_tor=False,
    events=[(float(at), f"flap {at}") for at in range(500)], seconds=[], before=NAN, during=NAN, after=NAN,
    rerouted=NAN, stalled_s=50.0, longest_stall_s=50.0, job_lost_s=40.0, iterations=0, iteration_s=NAN, cut_off=8,
    peak_queue_bytes=0.0, peak_queue_link="gpu-0:nic-0", num_events=0,
)  # fmt: skip


class Tags(HTMLParser):
    """Tags that are open at the end, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "rect", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> str:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return tags.text


def test_says_what_broke_and_what_it_did() -> None:
    said = read(render([ONE]))
    assert "Failure: nic-0:tor-1 is down at 10 s" in said
    for words in ("2,000", "1,500", "survives", "1,234", "tor-1:nic-0", "27", "routes follow nic-0:tor-1"):
        assert words in said


def test_networks_stand_side_by_side() -> None:
    html = render([ONE, OTHER])
    said = read(html)
    assert "single<tor>" in said
    assert "single<tor>" not in html
    assert "lost at 40.0 s" in said
    assert "300 more" in said
    assert "nan" not in said


def test_nothing_broke() -> None:
    quiet = Outage(**{name: getattr(ONE, name) for name in ONE.__struct_fields__} | {"events": []})
    assert "Failure: nothing broke" in read(render([quiet]))


def test_the_page_needs_nobody() -> None:
    html = render([ONE, OTHER])
    assert "http" not in html
    assert "<script" not in html
