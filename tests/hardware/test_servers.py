"""Templates are whole, and the ones the network and the scheduler are built around are what they promise."""

import pytest

from roadbed.errors import NotFoundError
from roadbed.hardware.chips import CHIPS
from roadbed.hardware.servers import SERVERS, Server, server


@pytest.mark.parametrize("one", SERVERS.values(), ids=lambda one: one.name)
def test_templates_are_whole(one: Server) -> None:
    assert one.num_cpus > 0
    assert one.memory_mib >= 256 * 1024
    assert one.source
    assert (one.chip in CHIPS) == (one.num_devices > 0)
    for given in (one.device_islands, one.rails):
        assert len(given) in (0, one.num_devices)
    assert set(one.rails or range(one.num_devices)) <= {nic.rail for nic in one.nics}
    assert sorted(set(one.device_islands)) == list(range(len(set(one.device_islands))))


@pytest.mark.parametrize("name", ["hgx-h100", "hgx-h200", "hgx-h20"])
def test_hgx_has_one_island_of_eight_and_a_rail_each(name: str) -> None:
    one = server(name)
    assert (one.num_devices, one.device_islands, one.rails, one.island_servers) == (8, (), (), 1)
    assert one.scale_out_gbps == 3200


def test_sixteen_accelerators_in_one_domain() -> None:
    one = server("ppu-16")
    assert one.num_devices == 16
    assert one.device_islands == ()
    assert one.num_devices * CHIPS[one.chip].memory_mib == 1536 * 1024
    assert one.scale_out_gbps == 3200
    assert [one.rails.count(rail) for rail in range(8)] == [2] * 8


def test_sixteen_npus_in_two_islands() -> None:
    assert [server("ascend-16").device_islands.count(island) for island in (0, 1)] == [8, 8]


def test_a_rack_of_trays_is_one_island() -> None:
    tray = server("nvl72-tray")
    assert tray.num_devices * tray.island_servers == 72


def test_pcie_boxes_split_at_the_sockets() -> None:
    assert server("l40s-8").device_islands == (0, 0, 0, 0, 1, 1, 1, 1)
    assert server("t4-4").rails == (0, 0, 0, 0)


def test_names() -> None:
    with pytest.raises(NotFoundError, match="there is no server 'hgx-h10'; did you mean 'hgx-h100'"):
        server("hgx-h10")
    with pytest.raises(NotFoundError, match=r"servers are hgx-h100, .*, mine"):
        server("zzz", {"mine": Server(name="mine", num_cpus=1, memory_mib=1)})
    own = Server(name="hgx-h100", num_cpus=1, memory_mib=1)
    assert server("hgx-h100", {"hgx-h100": own}) is own
