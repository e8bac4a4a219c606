"""Files and functions stay small enough to be read (DESIGN §6)."""

import statistics

from tests.house.source import modules, num_lines

MAX_FILE_LINES = 600
MAX_MEDIAN_LINES = 150
MAX_FUNCTION_LINES = 60
MAX_P95_LINES = 45


def test_files() -> None:
    long = {module.name: module.num_lines for module in modules() if module.num_lines > MAX_FILE_LINES}
    assert long == {}
    assert statistics.median(module.num_lines for module in modules()) <= MAX_MEDIAN_LINES


def test_functions() -> None:
    sizes = sorted((num_lines(node), module.name, node.name) for module in modules() for node in module.functions())
    assert [found for found in sizes if found[0] > MAX_FUNCTION_LINES] == []
    assert sizes[int(0.95 * len(sizes))][0] <= MAX_P95_LINES
