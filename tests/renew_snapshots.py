"""The ``--renew-snapshots`` option: what is rendered now becomes what is expected."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--renew-snapshots", action="store_true", help="overwrite the stored snapshots of rendered files"
    )


@pytest.fixture
def renew_snapshots(request: pytest.FixtureRequest) -> bool:
    """Whether to write snapshots in place of comparing with them."""
    return bool(request.config.getoption("--renew-snapshots"))
