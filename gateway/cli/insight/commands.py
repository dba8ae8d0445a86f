"""The command lines of `learn`, `replay` and `report`. What they need is imported when they run."""
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ending import fail
from gateway.cli.options import Config, TableOrJson, wants_json

Records = Annotated[list[str], typer.Argument(metavar="RECORDS", help="Log files, plain or gzip; - for stdin.")]
Format = Annotated[
    str | None, typer.Option("--format", metavar="json|text|envoy|squid|vpc", help="Log format; detected by default.")
]
Fields = Annotated[
    str | None, typer.Option("--fields", metavar="A,B,...", help="vpc: the fields, if there is no header line.")
]


def learn(
    records: Records,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="PATH", help="The policy to add to, instead of FILE's.")
    ] = None,
    config: Config = None,
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", metavar="group|namespace|user|address", help="Write rules for the clients seen."),
    ] = None,
    wildcard_from: Annotated[
        int, typer.Option("--wildcard-from", metavar="N", min=2, help="Names under one domain that become a wildcard.")
    ] = 5,
    write: Annotated[
        bool, typer.Option("-w", "--write", help="Write the rules into the file instead of a diff.")
    ] = False,
    format_: Format = None,
    fields: Fields = None,
) -> None:
    """Turn recorded traffic into rules that the policy lacks.

    Run the gateway with `mode: report` for a while first. Only traffic that passed and reached its destination counts.
    Names are added as they are; where N names under one registered domain were each seen more than once, they become a
    wildcard, but never at a public suffix. Addresses, private destinations and names seen only once are marked.

    \b
    egress-gateway learn --policy policy.yaml records.jsonl             print a diff
    egress-gateway learn --policy policy.yaml -w records.jsonl*.gz      add lines to the file
    zcat access.log.gz | egress-gateway learn --format squid -          without an existing policy
    egress-gateway learn --group-by group --policy policy/ records.jsonl

    Status 0; 2 if records or policy cannot be read, or if the result would not load.
    """
    from gateway.cli.insight.learning import Refusals, learn_from
    from gateway.cli.insight.source import Source

    if group_by not in (None, "group", "namespace", "user", "address"):
        fail(f"--group-by is group, namespace, user or address, not {group_by!r}")
    try:
        learn_from(Source.of(records, format_, fields), config, policy, group_by, wildcard_from, write)
    except Refusals as refusal:
        fail(refusal)


def replay(
    records: Records,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="PATH", help="The candidate, instead of FILE's.")
    ] = None,
    config: Config = None,
    enforce: Annotated[bool, typer.Option("--enforce", help="Ignore `mode: report` in it.")] = False,
    output: TableOrJson = "table",
    format_: Format = None,
    fields: Fields = None,
) -> None:
    """Judge recorded traffic by another policy.

    Every recorded attempt is judged again: the requested name, the first bytes, the SNI and the addresses of the
    name. The output lists what passed and would be denied, and what was denied and would pass; a table shows the 1,000
    most frequent of each.

    \b
    egress-gateway replay --policy candidate.yaml records.jsonl
    egress-gateway replay --enforce --policy policy/ -o json records.jsonl*.gz

    Status 0; 1 if something is newly denied; 2 if records or policy cannot be read.
    """
    from gateway.cli.insight.learning import Refusals
    from gateway.cli.insight.replaying import replay_records
    from gateway.cli.insight.source import Source

    as_json = wants_json(output)
    try:
        breaks = replay_records(Source.of(records, format_, fields), config, policy, enforce, as_json)
    except Refusals as refusal:
        fail(refusal)
    raise typer.Exit(1 if breaks else 0)


def report(
    records: Records,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="COLUMNS",
            help="Any of month,day,client,namespace,groups,destination,rule,reason, in any order.",
        ),
    ] = "day,client,destination",
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="table|csv|markdown|json", help="Output format.")
    ] = "table",
    format_: Format = None,
    fields: Fields = None,
) -> None:
    """Summarise who reached what.

    Counts connections and requests by verdict, and payload bytes. A table shows at most the 1,000 busiest rows.

    \b
    egress-gateway report records.jsonl
    egress-gateway report --by client,destination -o csv records.jsonl* > traffic.csv
    egress-gateway observe --last 10000 -o json | egress-gateway report --by client,reason -

    Status 0; 2 if records cannot be read.
    """
    from gateway.cli.insight.learning import Refusals
    from gateway.cli.insight.reporting import PRINTERS, report_records
    from gateway.cli.insight.source import Source
    from gateway.insight.report import DIMENSIONS

    columns = by.split(",")
    if not set(columns) <= set(DIMENSIONS) or len(set(columns)) != len(columns):
        fail(f"--by must be some of {','.join(DIMENSIONS)}, not {by!r}")
    if output not in PRINTERS:
        fail(f"-o is one of {', '.join(PRINTERS)}, not {output!r}")
    try:
        report_records(Source.of(records, format_, fields), columns, output)
    except Refusals as refusal:
        fail(refusal)
