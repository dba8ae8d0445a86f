"""The commands of `egress-gateway ca`; what does the work is imported when one runs."""
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ending import fail

ca = typer.Typer(
    help="Create, show and rotate the CA for inspection.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
CaCertificate = Annotated[Path, typer.Option("--cert", metavar="FILE", help="Certificates that clients trust, PEM.")]
CaKey = Annotated[Path, typer.Option("--key", metavar="FILE", help="The key that signs, PEM.")]
CaDays = Annotated[int, typer.Option("--days", min=1, max=7300, metavar="N", help="Validity in days.")]


@ca.command("init")
def ca_init(
    cert: CaCertificate = Path("ca.crt"),
    key: CaKey = Path("ca.key"),
    name: Annotated[str, typer.Option(metavar="TEXT", help="Common name.")] = "egress gateway",
    days: CaDays = 3650,
    permit: Annotated[
        list[str] | None, typer.Option(metavar="DOMAIN", help="Sign only names under this domain; repeatable.")
    ] = None,
) -> None:
    """Create a new CA.

    It consists of two files: the certificate, and the key, which only its owner can read.

    \b
    egress-gateway ca init --cert ca.crt --key ca.key
    egress-gateway ca init --permit example.com --permit example.org

    Existing files are not overwritten. Name both files as inspection.ca_cert and inspection.ca_key.

    Status 0; 2 if a file exists already or cannot be written.
    """
    import time

    from gateway.cli.ca.rotation import init
    from gateway.model.errors import ConfigError

    try:
        init(cert, key, name, days, permit or [], time.time())
    except ConfigError as refusal:
        fail(refusal)


@ca.command("show")
def ca_show(
    cert: CaCertificate = Path("ca.crt"),
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Show which certificate signs.")] = None,
) -> None:
    """Show what clients must trust.

    For each certificate: name, expiry, name constraints and fingerprint.

    Status 0; 2 if a file cannot be read, or no certificate in it belongs to the key.
    """
    from gateway.cli.ca.rotation import show
    from gateway.model.errors import ConfigError

    try:
        show(cert, key)
    except ConfigError as refusal:
        fail(refusal)


@ca.command("rotate")
def ca_rotate(
    cert: CaCertificate = Path("ca.crt"),
    key: CaKey = Path("ca.key"),
    step: Annotated[str, typer.Option(metavar="publish|switch|withdraw", help="The step to take.")] = "publish",
    days: CaDays = 3650,
) -> None:
    """Replace the CA without an outage, one step per call.

    \b
    publish    create the next CA; clients are to trust both, the old one signs
    switch     when all clients have the new bundle: the new one signs
    withdraw   when no certificate of the old one is valid any more: only the new one is trusted

    A running gateway applies each step by itself. Steps are accepted only in this order.

    Status 0; 2 if the step is out of order, or a file cannot be read or written.
    """
    import time

    from gateway.cli.ca.rotation import Step, rotate
    from gateway.model.errors import ConfigError

    if step not in set(Step):
        fail(f"a step is publish, switch or withdraw, not {step!r}")
    try:
        rotate(cert, key, Step(step), days, time.time())
    except ConfigError as refusal:
        fail(refusal)


@ca.command("truststore")
def ca_truststore(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="PEM, such as the health port's /ca-bundle.pem.")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The file to create.")] = Path("truststore.p12"),
    password: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The file's password; changeit by default (it holds no secret).")
    ] = None,
) -> None:
    """Convert a PEM bundle of CAs to PKCS #12, for Java.

    \b
    egress-gateway ca truststore ca-bundle.pem truststore.p12

    Status 0; 2 if the bundle cannot be read or the file exists already.
    """
    from gateway.cli.ca.truststore import write_truststore
    from gateway.cli.console import counted
    from gateway.migrate.workloads.variables import USUAL_PASSWORD
    from gateway.model.errors import ConfigError

    try:
        count = write_truststore(bundle, out, password or USUAL_PASSWORD)
    except ConfigError as refusal:
        fail(refusal)
    typer.echo(f"{out}: {counted(count, 'certificate')}")
