"""``--strict-skips`` makes each kind of skip a failure, by name, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import strict_skips

pytest_plugins = ("pytester",)

PASSES = "def test_passes(): pass\n"
SKIPS = {
    "mark": 'import pytest\n@pytest.mark.skip(reason="no tool")\ndef test_skips(): pass\n',
    "call": 'import pytest\ndef test_skips(): pytest.skip("no tool")\n',
    "fixture": (
        'import pytest\n@pytest.fixture\ndef tool(): pytest.skip("no tool")\ndef test_skips(tool): pass\n'
    ),
    "module": 'import pytest\npytest.skip("no tool", allow_module_level=True)\n',
}
OTHERS = {
    "passed": PASSES,
    "xfailed": "import pytest\n@pytest.mark.xfail\ndef test_known(): assert False\n",
    "deselected": PASSES + "import pytest\n@pytest.mark.slow\ndef test_slow(): pytest.skip()\n",
}


@pytest.fixture
def session(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder whose conftest is the plugin."""
    pytester.makeconftest(Path(strict_skips.__file__).read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers = slow\n")
    return pytester


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("kind", SKIPS)
def test_a_skip_fails_the_session(session: pytest.Pytester, kind: str, workers: str) -> None:
    session.makepyfile(test_good=PASSES, test_bad=SKIPS[kind])
    result = session.runpytest_subprocess("--strict-skips", "-n", workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*skipped, which --strict-skips makes a failure*", "test_bad.py*: *no tool*"]
    )
    result.assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize("kind", SKIPS)
def test_without_the_option_a_skip_passes(session: pytest.Pytester, kind: str) -> None:
    session.makepyfile(test_good=PASSES, test_bad=SKIPS[kind])
    assert session.runpytest_subprocess().ret == pytest.ExitCode.OK


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_skip_passes(session: pytest.Pytester, kind: str) -> None:
    session.makepyfile(OTHERS[kind])
    result = session.runpytest_subprocess("--strict-skips", "-m", "not slow")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*strict-skips*")
