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
def test_each_kind_of_skip_fails_the_session_by_name(session: pytest.Pytester, workers: str) -> None:
    session.makepyfile(test_good=PASSES, **{f"test_{kind}": source for kind, source in SKIPS.items()})
    result = session.runpytest_subprocess("--strict-skips", "-n", workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, skipped=len(SKIPS))
    result.stdout.fnmatch_lines("*skipped, which --strict-skips makes a failure*")
    result.stdout.fnmatch_lines_random([f"test_{kind}.py*: *no tool*" for kind in SKIPS])


@pytest.mark.parametrize("kind", ["call", "module"])
def test_one_skip_is_enough(session: pytest.Pytester, kind: str) -> None:
    session.makepyfile(test_good=PASSES, test_bad=SKIPS[kind])
    assert session.runpytest_inprocess("--strict-skips").ret == pytest.ExitCode.TESTS_FAILED


def test_without_the_option_a_skip_passes(session: pytest.Pytester) -> None:
    session.makepyfile(test_good=PASSES, test_bad=SKIPS["call"])
    assert session.runpytest_inprocess().ret == pytest.ExitCode.OK


def test_what_is_no_skip_passes(session: pytest.Pytester) -> None:
    session.makepyfile(**{f"test_{kind}": source for kind, source in OTHERS.items()})
    result = session.runpytest_inprocess("--strict-skips", "-m", "not slow")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=2, xfailed=1, deselected=1)
    result.stdout.no_fnmatch_line("*strict-skips*")
