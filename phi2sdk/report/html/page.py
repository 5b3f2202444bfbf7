"""From a report and its run to one HTML file."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from phi2sdk.measure.folder import Run
from phi2sdk.measure.records import Record, paused_collector
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report import money_words
from phi2sdk.report.html import about, assets, tables, verdict
from phi2sdk.report.html.data import drawn
from phi2sdk.report.html.identityview import calibration, identities
from phi2sdk.report.html.qualityview import quality
from phi2sdk.report.schema import Report
from phi2sdk.report.table import verdicts
from phi2sdk.report.words import DEMO, notes, requirement_line, so_far
from phi2sdk.text import for_terminal

__all__ = ["html_page"]


def html_page(report: Report, run: Run, tokenizer: ReferenceTokenizer) -> str:
    """``report.html``: self-contained, without network, scripts of its own alone.

    Args:
        report: The report of the run.
        run: The run itself, for its requests.
        tokenizer: The reference tokenizer, for the differences between answers.
    """
    with paused_collector():
        by_target = _greedy(run)
        looked_at = identities(report)
        scripts = [*assets.libraries(), assets.own(assets.SCRIPTS)]
        style = assets.own(assets.STYLES)
        return (
            _environment()
            .get_template("report.html.j2")
            .render(
                policy=assets.content_security_policy(scripts, [style, assets.PLOT_STYLE]),
                scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own files
                style=Markup(style),  # noqa: S704
                data=drawn(report, run, by_target, tokenizer, looked_at),
                report=report,
                names=list(report.targets),
                demo=DEMO,
                so_far=so_far(report),
                notes=notes(report),
                columns=verdict.COLUMNS,
                rows=verdict.rows(report),
                requirements=[(r.outcome, requirement_line(r)) for r in report.requirements],
                latencies=tables.latencies(report),
                quantiles=tables.QUANTILES,
                faster=verdicts(report),
                money=[
                    one
                    for one in money_words.sections(report)
                    if not one.title.startswith("Decision")
                ],
                matrices=tables.matrices(report),
                diagnoses=tables.diagnoses(report),
                identities=looked_at,
                calibration=calibration(report.identity_calibration),
                quality=quality(report),
                receipts=tables.receipts(report, by_target),
                configuration=about.configuration(report),
                machine=about.machine(report),
                settings=about.settings_of(run),
                method=about.METHOD,
                definitions=about.definitions(tokenizer),
            )
        )


def _greedy(run: Run) -> dict[str, list[Record]]:
    """The requests of the greedy arm by target, in the order of the run's targets."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in run.recorded.done.values():
        if record.key.arm == "greedy":
            found[record.key.target].append(record)
    return {name: found[name] for name in run.configuration["targets"] if name in found}


@cache
def _environment() -> Environment:
    """Everything is escaped; what is no markup of ours is made printable first."""
    environment = Environment(
        loader=PackageLoader("phi2sdk.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "separators": (",", ":"),
        "allow_nan": False,
    }
    return environment


def _harmless(value: object) -> object:
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return for_terminal(value)
    return value
