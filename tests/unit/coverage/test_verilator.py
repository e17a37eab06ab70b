"""Verilator's coverage: read, merged, by module, as LCOV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchproof.coverage.verilator import CodeCoverage, holes, lcov, merge_all, parse, read, summary
from etchproof.errors import InputError


def key(kind: str, line: int, what: str, page: str = "ep_a", lines: str = "", file: str = "ep_a.sv") -> bytes:
    fields = {"f": file, "l": line, "n": 3, "t": kind, "page": f"v_{kind}/{page}", "o": what}
    fields |= {"S": lines} if lines else {}
    fields["h"] = f"top.u_{page}"
    return b"".join(b"\x01%b\x02%b" % (name.encode(), str(value).encode()) for name, value in fields.items())


def file(*points: tuple[bytes, int]) -> bytes:
    return b"# SystemC::Coverage-3\n" + b"".join(b"C '%b' %d\n" % point for point in points)


CONTENT = file(
    (key("line", 4, "block", lines="4-6"), 7),
    (key("branch", 5, "if", lines="5"), 3),
    (key("branch", 5, "else", lines="6"), 0),
    (key("toggle", 2, "a_i[0]:0->1"), 0),
    (key("toggle", 2, "a_i[0]:1->0"), 5),
    (key("line", 4, "block", "ep_a__V2_R4", "4-6"), 2),
    (key("branch", 5, "else", "ep_a__V2_R4", "6"), 4),
)


def test_by_module() -> None:
    """Variants of a module are one."""
    coverage = parse(CONTENT)
    assert len(coverage.keys) == 7
    modules = coverage.modules
    assert summary(modules) == {"line": (1, 1), "branch": (2, 2), "toggle": (1, 2)}
    counted = dict(zip(modules.points, modules.counts.tolist(), strict=True))
    assert {point.what: count for point, count in counted.items() if point.kind != "toggle"} == {
        "block": 9,
        "if": 3,
        "else": 4,
    }
    assert [point.what for point in holes(modules, modules.of("toggle"))] == ["a_i[0]:0->1"]
    assert holes(modules, modules.of("line")) == []


def test_excluded_points_count_in_neither() -> None:
    modules = parse(CONTENT).modules
    excluded = np.array([point.what == "a_i[0]:0->1" for point in modules.points])
    assert summary(modules, excluded)["toggle"] == (1, 1)


def test_lcov() -> None:
    assert lcov(parse(CONTENT).modules, "hw/").splitlines() == [
        "TN:",
        "SF:hw/ep_a.sv",
        "BRDA:5,0,3_else,4",
        "BRDA:5,0,3_if,3",
        "BRF:2",
        "BRH:2",
        "DA:4,9",
        "DA:5,9",
        "DA:6,9",
        "LF:3",
        "LH:3",
        "end_of_record",
    ]
    assert lcov(parse(file()).modules) == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin"),
        (b"SP\n", "does not begin"),
        (CONTENT[:-3], "has 7 lines, of which 6 are points"),
        (CONTENT + b"C 'x' -1\n", "has 8 lines, of which 7 are points"),
        (CONTENT + b"\n", "has 8 lines"),
        (CONTENT + CONTENT.partition(b"\n")[2], "counts a point twice"),
    ],
)
def test_a_broken_file(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(content)


def test_files(tmp_path: Path) -> None:
    coverage = parse(CONTENT)
    coverage.save(tmp_path / "kept.npz")
    assert read(tmp_path / "kept.npz") == coverage
    (tmp_path / "coverage.dat").write_bytes(CONTENT)
    assert read(tmp_path / "coverage.dat") == coverage
    (tmp_path / "cut.npz").write_bytes((tmp_path / "kept.npz").read_bytes()[:100])
    with pytest.raises(InputError, match="is no stored coverage"):
        read(tmp_path / "cut.npz")
    with pytest.raises(InputError, match="file not found"):
        read(tmp_path / "nowhere.dat")
    merge_all([]).save(tmp_path / "empty.npz")
    assert read(tmp_path / "empty.npz") == merge_all([])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("l", "0x10", "has a point with '0x10', expected line numbers"),
        ("n", "%", "has a point with '%'"),
        ("S", "1-", "has a point with '1-'"),
        ("S", "9" * 5000, "has a point with '999"),
        ("S", "1-9000000", "has a point of more than 100,000 lines"),
    ],
)
def test_a_broken_point(field: str, value: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(b"# SystemC::Coverage-3\n" + f"C '\x01{field}\x02{value}' 1\n".encode())


def _stored(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


KEYS = np.frombuffer(b"a\nb", dtype=np.uint8)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"keys": KEYS}, "is no stored coverage"),
        (
            {"keys": KEYS, "counts": np.array([1, 2], dtype=object)},
            "is no stored coverage: counts is of type object",
        ),
        ({"keys": KEYS, "counts": np.array([[1, 2]])}, "counts is of type int64 and shape"),
        ({"keys": KEYS, "counts": np.array([1.0, 2.0])}, "counts is of type float64"),
        ({"keys": KEYS, "counts": np.array([1, -2])}, "counts a point less than 0"),
        ({"keys": KEYS, "counts": np.array([1, 2**62])}, "or at least 1000000000000000 times"),
        ({"keys": KEYS, "counts": np.array([1])}, "has 2 points and 1 counts"),
        ({"keys": KEYS[::-1].copy(), "counts": np.array([1, 2])}, "has its points in no order"),
        ({"keys": np.zeros(300 << 20, dtype=np.uint8), "counts": np.array([1])}, "unpacks to more than"),
    ],
)
def test_broken_stored_coverage(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(_stored(tmp_path / "kept.npz", **arrays))


keys = st.builds(
    key,
    st.sampled_from(["line", "branch", "toggle"]),
    st.integers(1, 40),
    st.sampled_from(["block", "if", "else", "q[3]:0->1"]),
    st.sampled_from(["ep_a", "ep_a__V3", "ep_b"]),
)
coverages = st.dictionaries(keys, st.integers(0, 2**40), max_size=12).map(
    lambda points: parse(file(*points.items()))
)


@given(coverages, coverages, coverages)
def test_merging(a: CodeCoverage, b: CodeCoverage, c: CodeCoverage) -> None:
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(merge_all([])) == a
    # What is covered is idempotent, counts are sums.
    covered = a.merge(a)
    assert covered.keys == a.keys and ((covered.counts > 0) == (a.counts > 0)).all()
    merged = a.merge(b)
    assert set(merged.keys) == {*a.keys, *b.keys}
    assert merged.counts.sum() == a.counts.sum() + b.counts.sum()


@given(coverages)
def test_summing_up_loses_nothing(a: CodeCoverage) -> None:
    modules = a.modules
    assert modules.counts.sum() == a.counts.sum()
    for kind, (hit, total) in summary(modules).items():
        assert hit + len(holes(modules, modules.of(kind))) == total
