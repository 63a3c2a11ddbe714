"""`pytest tests/scenarios --rewrite` writes what came out into the scripts: read the diff as a change of behaviour."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the scenarios' output into their scripts")


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether to write instead of to compare."""
    return bool(request.config.getoption("--rewrite", default=False))
