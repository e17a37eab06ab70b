"""``etchproof cosim --dump-taps`` and ``etchproof compare``, as a user calls them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from etchproof.compare.kept import TapDump
from tests.cli.conftest import LIMIT_S, TOKENS, Cosim, Done, Refused, command

pytestmark = pytest.mark.sim

SITE = "rom:model.layers.2.mlp.down_proj[17,5]^4"
Compare = Callable[..., tuple[int, str]]


@pytest.fixture
def compare(cli_env: dict[str, str], tmp_path: Path) -> Compare:
    """Status and stdout of ``etchproof compare``."""

    def run(*words: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            command("compare", *words), cwd=tmp_path, env=cli_env, capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


@pytest.fixture(scope="module")
def folder(cosim: Cosim, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The run of ``passed`` once more, its taps in its own folder."""
    out = tmp_path_factory.mktemp("folder") / "run"
    done = cosim("--out", out, "--dump-taps", out / "taps")
    return Done(done.status, done.stdout, done.stderr, out)


def test_a_folder_and_a_file_of_one_run(passed: tuple[Done, Path], folder: Done, compare: Compare) -> None:
    assert (folder.status, folder.stderr) == (0, "")
    status, text = compare(folder.out, passed[1])
    counted = (
        f"{folder.result.taps_compared:,} vectors, {folder.result.elements_compared:,} elements; 0 mismatches"
    )
    assert (status, text.splitlines()[-1]) == (0, "EQUAL")
    assert counted in text
    dump = TapDump(folder.out)
    assert dump.tokens == folder.result.tokens_fed
    assert [token.fed for token in dump.read()][: len(folder.result.prompt_tokens)] == [
        *folder.result.prompt_tokens
    ]


def test_where_two_runs_differ(
    cosim: Cosim, passed: tuple[Done, Path], folder: Done, compare: Compare, tmp_path: Path
) -> None:
    """The run with a fault differs from the good one where it differs from its golden model."""
    bad = cosim("--inject", SITE, "--dump-taps", tmp_path / "bad")
    first = bad.result.first_divergence
    assert (bad.status, first is not None) == (1, True)
    assert first is not None
    status, text = compare(passed[1], tmp_path / "bad")
    assert (status, text.splitlines()[-1]) == (1, "DIFFER")
    said = f"layer {first.layer} {first.tap}, token {first.token} of sequence 0, element {first.element}: "
    assert f"{said}A has {first.expected}, B {first.got}" in text
    status, text = compare(folder.out, tmp_path / "bad", "--json")
    found = json.loads(text)
    assert (status, found["equal"], found["first"]["tap"]) == (1, False, "down_proj")
    mine = {(tap["layer"], tap["tap"]): tap["mismatches"] for tap in found["taps"]}
    assert mine[2, "down_proj"] > 0
    assert not any(count for (layer, _), count in mine.items() if 0 <= layer < 2)
    assert compare(folder.out, tmp_path / "bad", "--side", "golden")[0] == int(
        bad.result.generated_tokens != folder.result.generated_tokens
    )
    assert compare(folder.out, tmp_path / "bad", "--only-layers", "0-1")[0] == int(
        bad.result.generated_tokens != folder.result.generated_tokens
    )


def test_another_simulator(cosim: Cosim, folder: Done, compare: Compare, tmp_path: Path) -> None:
    strict = cosim("--build", "strict", "--dump-taps", tmp_path / "strict.npz")
    assert strict.status == 0
    assert compare(tmp_path / "strict.npz", folder.out)[0] == 0


def test_filters(cosim: Cosim, folder: Done, compare: Compare, tmp_path: Path) -> None:
    only = ("--only-layers", "-1,1-2", "--only-taps", "q_proj,logits", "--only-tokens", "2-4,6")
    done = cosim("--dump-taps", tmp_path / "part", *only)
    assert done.status == 0
    tokens = list(TapDump(tmp_path / "part").read())
    assert [token.position for token in tokens] == [2, 3, 4, 6]
    assert all(list(token.chip) == [(1, "q_proj"), (2, "q_proj"), (-1, "logits")] for token in tokens)
    assert compare(folder.out, tmp_path / "part", *only)[0] == 0
    status, text = compare(folder.out, tmp_path / "part")
    assert status == 1
    assert "only A   embedding, layer 0 attn_norm, " in text
    assert f"only A   {done.result.tokens_fed - 4} tokens, from 0 of sequence 0 on" in text


def test_bad_input(refused: Refused, folder: Done, tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert "holds no taps" in refused("compare", folder.out, tiny_checkpoint)
    assert "file not found" in refused("compare", folder.out, tmp_path / "nowhere")
    assert "is no .npz file of numpy" in refused("compare", folder.out, folder.out / "run.json")
    words = ("cosim", tiny_checkpoint, "--prompt-ids", "1", "--dump-taps", tmp_path / "taps")
    assert "--only-layers: names layer 3, the last is 2" in refused(*words, "--only-layers", "0-1,3")
    assert "--only-taps: names 'nope', expected some of embedding, " in refused(*words, "--only-taps", "nope")
    alone = ("--only-layers", "0", "--only-taps", "logits")
    assert "--only-taps: takes no tap of those layers" in refused(*words, *alone)


def test_an_interrupted_run_leaves_no_dump(
    passed: tuple[Done, Path],
    refused: Refused,
    cli_env: dict[str, str],
    tiny_checkpoint: Path,
    tmp_path: Path,
) -> None:
    dump = tmp_path / "taps"
    process = subprocess.Popen(
        command("cosim", tiny_checkpoint, "--tokens", "250", "--out", tmp_path / "out", "--dump-taps", dump),
        env=cli_env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not list(dump.glob("*.npz")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert "has no index.json: the run that writes it has not ended" in refused("compare", dump, passed[1])


def test_a_dump_that_cannot_be_kept_is_no_pass(cosim: Cosim, tmp_path: Path) -> None:
    """The folder goes while the run goes."""
    done = cosim("--timeout", "0.2", "--dump-taps", tmp_path / "taps")
    assert "dump_missing" in {reason.name for reason in done.result.reasons}
    assert done.result.tokens_fed < TOKENS
