"""Each server is started once and stopped after its last test; a table is printed at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from phi2sdk import Phi2Client
from tests.real_servers.reference import Reference
from tests.real_servers.servers import KINDS, ROUTES, RealServer, Route, running

HERE = Path(__file__).parent
SUBJECTS = {
    "test_greedy": "greedy text",
    "test_parameters": "parameters",
    "test_limits": "log-probabilities, limits",
    "test_evaluate": "evaluation",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and isinstance(item, pytest.Function):
            # The limit is for a test alone: an environment may have to be installed before it.
            item.add_marker(pytest.mark.real_servers)
            item.add_marker(pytest.mark.timeout(300, func_only=True))
            item.user_properties.append(("server", item.callspec.params["server"]))


@pytest.fixture(scope="session", params=list(KINDS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealServer]:
    with running(KINDS[request.param], tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.fixture(scope="session")
def by_route(server: RealServer) -> Iterator[dict[Route, Phi2Client]]:
    with ExitStack() as stack:
        yield {route: stack.enter_context(server.client(route)) for route in ROUTES}


@pytest.fixture(scope="session")
def phi(by_route: dict[Route, Phi2Client]) -> Phi2Client:
    return by_route["completions"]


@pytest.fixture(scope="session")
def reference() -> Iterator[Reference]:
    local = Reference()
    yield local
    local.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a row for each server that was tested: version, cells passed of cells tried, ties."""
    tried: defaultdict[str, Counter[str]] = defaultdict(Counter)
    passed: defaultdict[str, Counter[str]] = defaultdict(Counter)
    ties: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = dict(report.user_properties)
            if name := properties.get("server"):
                subject = SUBJECTS[Path(report.location[0]).stem]
                tried[name][subject] += 1
                passed[name][subject] += outcome == "passed"
                ties[name] += "tie" in properties
    if not tried:
        return
    terminalreporter.section("real servers: cells passed / tried")
    head = ["server", "version", *SUBJECTS.values(), "all", "ties"]
    terminalreporter.line(f"| {' | '.join(head)} |")
    terminalreporter.line(f"|{' --- |' * len(head)}")
    for name, counts in tried.items():
        cells = [f"{passed[name][s]}/{counts[s]}" for s in SUBJECTS.values()]
        version = KINDS[name].version() if passed[name].total() else "did not start"
        row = [name, version, *cells, f"{passed[name].total()}/{counts.total()}", str(ties[name])]
        terminalreporter.line(f"| {' | '.join(row)} |")
