"""The nouns: sizes add up, defaults mean what they say, a funnel reads as a sentence."""

from roadbed.scheduler.base import Funnel, Gang, Shape, Step


def test_sizes() -> None:
    gang = Gang(shape=Shape(num_devices=2, milli=1000), num=3, max_num=5)
    assert (gang.shape.total_milli, gang.total_milli, gang.most) == (2000, 6000, 5)
    assert Gang(shape=Shape(), num=3).most == 3
    assert Shape(num_devices=0).total_milli == 0


def test_a_funnel_reads_from_many_to_none() -> None:
    funnel = Funnel(
        (Step("no_nodes", 1213, "nodes"), Step("no_such_chip", 392, "with H100"), Step("no_domain", 0, "x"))
    )
    assert str(funnel) == "1,213 nodes → 392 with H100 → 0 x"
    assert funnel.reason == "no_domain"
    assert Funnel(()).reason == "fits"
