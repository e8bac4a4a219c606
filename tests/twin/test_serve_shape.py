from pathlib import Path

import pytest

from roadbed.errors import NotFoundError, SpecError
from roadbed.twin.serve_shape import Shape, read_shape

DATA = Path(__file__).parents[1] / "data"


def file(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["timestamp_anon,value,container_ip", *rows]) + "\n")
    return path


def test_by_hand(tmp_path: Path) -> None:
    shape = read_shape(file(tmp_path / "d.csv", "100,1,a", "100,2,b", "150,,a", "180,0,a", "200,1,a"), 2)
    assert shape == Shape((1.5, 0.5))
    assert shape.most == 1.5
    assert [shape.at(share) for share in (0.0, 0.49, 0.5, 0.999, 1.0)] == [1.5, 1.5, 0.5, 0.5, 0.5]


def test_the_published_day() -> None:
    shape = read_shape(DATA / "genai_qps.csv")
    assert len(shape.relative) == 288
    assert sum(shape.relative) == pytest.approx(288)
    assert shape.most > 1.5


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (("1,2,a",), "at one time"),
        (("1,0,a", "2,0,a"), "every value is 0"),
        (("1,2,a", "soon,2,a"), "d.csv:3: timestamp_anon is 'soon'"),
        (("1,2,a", "2,-1,a"), "d.csv:3: value is -1, below 0"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, rows: tuple[str, ...], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_shape(file(tmp_path / "d.csv", *rows))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_shape(tmp_path / "none.csv")
