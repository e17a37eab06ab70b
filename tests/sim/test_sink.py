"""Taps and ROM images between a real simulator and Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.render.images_index import IndexedImage, write_images_index
from etchproof.sim.run import SimOutcome
from etchproof.sim.sink import SinkError, TapSink
from tests.sim.conftest import MiniImages, RunMini

pytestmark = pytest.mark.sim


def assert_failed(outcome: SimOutcome, name: str) -> None:
    """The run failed, and the sink's error ``name`` is why."""
    assert outcome.status == "failed"
    assert any(f"{name}: " in failure.message for failure in outcome.failures), outcome.failures


@pytest.mark.parametrize("kind", ["fast", "strict"])
def test_taps_arrive_exactly(run_mini: RunMini, kind: str, request: pytest.FixtureRequest) -> None:
    outcome = run_mini("taps", request.getfixturevalue(f"mini_{kind}"))
    assert (outcome.status, outcome.failures) == ("passed", ())
    assert outcome.passed == ("mini_bench.taps",)


def test_the_bench_sees_a_wrong_element(run_mini: RunMini) -> None:
    outcome = run_mini("taps", config={"wrong": 1})
    assert [failure.name for failure in outcome.failures] == ["test_failed"]
    assert "np.array_equal(record.data" in outcome.failures[0].message


@pytest.mark.parametrize("case", ["disabled", "visibility", "late_capacity"])
def test_sink(run_mini: RunMini, case: str) -> None:
    assert run_mini(case).failures == ()


@pytest.mark.parametrize("case", ["many", "several_tokens", "full"])
def test_little_memory_serves(run_mini: RunMini, case: str) -> None:
    assert run_mini(case, tap_bytes=4096).failures == ()


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("overflow", "tap_overflow"),
        ("unread_overflow", "tap_overflow"),
        ("lost", "lost_record"),
        ("stolen", "lost_record"),
        ("unknown_tap", "unknown_tap"),
        ("bad_count", "tap_count"),
    ],
)
def test_bad_taps_fail_the_run(run_mini: RunMini, case: str, name: str) -> None:
    assert_failed(run_mini(case, tap_bytes=4096), name)


@pytest.mark.parametrize("text", ["0", "4095", "many", "-8192", ""])
def test_an_unusable_capacity_fails_the_run(
    run_mini: RunMini, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_failed(run_mini("taps", tap_bytes=text), "tap_bytes")


@pytest.mark.parametrize("kind", ["fast", "strict"])
def test_roms_hold_their_images(
    run_mini: RunMini, mini_images: MiniImages, kind: str, request: pytest.FixtureRequest
) -> None:
    config = {"images": mini_images.values}
    assert run_mini("roms", request.getfixturevalue(f"mini_{kind}"), config=config).failures == ()


def resized(image: IndexedImage, change: int) -> IndexedImage:
    """The image with so many bytes more or less, the index telling the truth."""
    data = image.path.read_bytes()
    image.path.write_bytes(data + bytes(change) if change > 0 else data[:change])
    return replace(image, size_bytes=image.size_bytes + change)


def named(images: MiniImages, layer: int, name: str) -> IndexedImage:
    return next(image for image in images.images if (image.layer, image.name) == (layer, name))


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("params", -1, "image_short"),
        ("params", 1, "image_long"),
        ("params", None, "image_missing"),
    ],
)
def test_a_file_that_is_not_as_indexed_fails_the_run(
    run_mini: RunMini, mini_images: MiniImages, name: str, change: int | None, error: str
) -> None:
    image = named(mini_images, 1, name)
    if change is None:
        image.path.unlink()
    else:
        resized(image, change)
    assert_failed(run_mini("unread_roms"), error)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("q_proj.codes", 1),  # not whole rows
        ("q_proj.codes", -12),  # one row in a ROM of four
        ("q_proj.codes", 12),  # five rows in four
        ("attn_norm.gains", -16),  # empty
        ("params", 4),
    ],
)
def test_an_image_of_another_size_fails_the_run(
    run_mini: RunMini, mini_images: MiniImages, name: str, change: int
) -> None:
    image = named(mini_images, 0, name)
    changed = resized(image, change)
    images = tuple(changed if each is image else each for each in mini_images.images)
    assert_failed(run_mini("unread_roms", images=images), "image_size")


def test_a_value_above_the_width_fails_the_run(run_mini: RunMini, mini_images: MiniImages) -> None:
    path = named(mini_images, 0, "q_proj.codes").path
    path.write_bytes(path.read_bytes()[:-1] + b"\x40")
    assert_failed(run_mini("unread_roms"), "image_bits")


def test_an_image_outside_the_index_fails_the_run(run_mini: RunMini, mini_images: MiniImages) -> None:
    assert_failed(run_mini("unread_roms", images=mini_images.images[1:]), "image_missing")


def test_an_image_that_nobody_loads_fails_the_run(run_mini: RunMini, mini_images: MiniImages) -> None:
    extra = replace(mini_images.images[0], layer=5)
    outcome = run_mini("roms", images=(*mini_images.images, extra), config={"images": mini_images.values})
    assert_failed(outcome, "image_unloaded")
    assert "layer 5 q_proj.codes" in outcome.failures[0].message


def test_an_image_loaded_by_two_roms_fails_the_run(run_mini: RunMini) -> None:
    assert_failed(run_mini("unread_roms", plusargs=["+repeat=1"]), "image_repeated")


def test_no_index_fails_the_run(run_mini: RunMini) -> None:
    assert_failed(run_mini("unread_roms", images_index=None), "image_index")


@pytest.mark.parametrize("line", ["zero params 20 /x", "0 params", "0 params 20", "0 params many /x"])
def test_a_broken_index_fails_the_run(run_mini: RunMini, tmp_path: Path, line: str) -> None:
    index = tmp_path / "broken.txt"
    index.write_text(line + "\n")
    assert_failed(run_mini("unread_roms", images_index=index), "image_index")


def test_an_entry_twice_in_the_index_fails_the_run(run_mini: RunMini, mini_images: MiniImages) -> None:
    assert_failed(run_mini("unread_roms", images=mini_images.images[:1] * 2), "image_index")


class TestWithoutSimulator:
    def test_a_sink_needs_a_simulation(self) -> None:
        with pytest.raises(SinkError, match=r"^not_a_simulation"):
            TapSink(())

    @pytest.mark.parametrize("name", ["two words", "", " params", "a\nb"])
    def test_a_name_that_breaks_the_index_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match="one line"):
            write_images_index(tmp_path / "index", [IndexedImage(0, name, 1, tmp_path / "x")])
