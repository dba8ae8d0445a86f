"""`egress-gateway observe`. Options are called as in Hubble where both have the same thing."""
# ruff: noqa: PLC0415  # what a command needs is imported when it runs, so that `--help` answers at once

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ending import fail, until_interrupted
from gateway.cli.options import Config

Values = list[str] | None


def observe(
    config: Config = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing new flows.")] = False,
    last: Annotated[int | None, typer.Option(metavar="N", help="Number of past flows; 20, or 0 with -f.")] = None,
    since: Annotated[str | None, typer.Option(metavar="5m", help="Only flows that ended within this time.")] = None,
    verdict: Annotated[Values, typer.Option(metavar="V", help="forwarded, dropped, error or audit.")] = None,
    from_ip: Annotated[Values, typer.Option(metavar="ADDR", help="The client's address or network.")] = None,
    from_user: Annotated[Values, typer.Option(metavar="NAME", help="The client's user name.")] = None,
    from_group: Annotated[Values, typer.Option(metavar="NAME", help="A group of the policy.")] = None,
    from_namespace: Annotated[Values, typer.Option(metavar="NAME", help="The namespace of the client's pod.")] = None,
    from_pod: Annotated[Values, typer.Option(metavar="[NS/]NAME", help="The beginning of the pod's name.")] = None,
    from_workload: Annotated[Values, typer.Option(metavar="[NS/]NAME", help="api or Deployment/api.")] = None,
    from_service_account: Annotated[Values, typer.Option(metavar="[NS/]NAME", help="The service account.")] = None,
    to_fqdn: Annotated[Values, typer.Option(metavar="NAME", help="The requested name; * matches any text.")] = None,
    to_ip: Annotated[Values, typer.Option(metavar="ADDR", help="The dialled address or network.")] = None,
    port: Annotated[Values, typer.Option(metavar="N", help="The requested port.")] = None,
    protocol: Annotated[Values, typer.Option(metavar="P", help="tls, http or tcp.")] = None,
    http_method: Annotated[Values, typer.Option(metavar="M", help="The request's method: GET.")] = None,
    http_path: Annotated[Values, typer.Option(metavar="PATH", help="The request's path; * matches any text.")] = None,
    http_status: Annotated[Values, typer.Option(metavar="N", help="The status the client received: 404, 5+.")] = None,
    rule: Annotated[Values, typer.Option(metavar="FILE#NAME", help="The rule that decided.")] = None,
    reason: Annotated[Values, typer.Option(metavar="R", help="A reason from docs/reasons.md.")] = None,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="compact|dict|json|table", help="Output format.")
    ] = "compact",
) -> None:
    """Show recent connections and requests; -f follows.

    Asks the running gateway at `admin.bind`, with the token of `admin.token_file` if there is one, and filters there. A
    filter may be repeated; a flow is shown if, for every filter, one of its values matches.

    \b
    egress-gateway observe -f --verdict dropped
    egress-gateway observe --since 5m --to-fqdn '*.example.com' -o json

    Status 0; 2 if the gateway does not answer.
    """
    filters = {
        "verdict": verdict,
        "from_ip": from_ip,
        "from_user": from_user,
        "from_group": from_group,
        "from_namespace": from_namespace,
        "from_pod": from_pod,
        "from_workload": from_workload,
        "from_service_account": from_service_account,
        "to_fqdn": to_fqdn,
        "to_ip": to_ip,
        "port": port,
        "protocol": protocol,
        "http_method": http_method,
        "http_path": http_path,
        "http_status": http_status,
        "rule": rule,
        "reason": reason,
    }
    wanted = [(key, value) for key, values in filters.items() for value in values or ()]
    if last is not None:
        wanted.append(("last", str(last)))
    _print(config, wanted, since, follow, output)


def _print(config: Path | None, wanted: list[tuple[str, str]], since: str | None, follow: bool, output: str) -> None:
    from gateway.cli.admin_port import NoAnswer
    from gateway.cli.observing.following import print_flows
    from gateway.cli.observing.shapes import SHAPES
    from gateway.settings.problems import BadValue, ConfigErrors
    from gateway.settings.units import parse_duration

    if output not in SHAPES:
        fail(f"-o is one of {', '.join(SHAPES)}, not {output!r}")
    try:
        if since is not None:
            wanted.append(("since", f"{parse_duration(since):.3f}"))
        with until_interrupted():
            print_flows(config, wanted, follow, output)
    except (ConfigErrors, NoAnswer) as refusal:
        fail(refusal)
    except BadValue as bad:
        fail(f"--since: {bad}")
