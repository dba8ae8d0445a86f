"""The commands of `egress-gateway ca`; what does the work is imported when one runs."""
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ending import fail

ca = typer.Typer(
    help="Make, show and replace the authority of inspection.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
CaCertificate = Annotated[Path, typer.Option("--cert", metavar="FILE", help="Certificates that clients trust, PEM.")]
CaKey = Annotated[Path, typer.Option("--key", metavar="FILE", help="The key that signs, PEM.")]
CaDays = Annotated[int, typer.Option("--days", min=1, max=7300, metavar="N", help="How long it is valid.")]


@ca.command("init")
def ca_init(
    cert: CaCertificate = Path("ca.crt"),
    key: CaKey = Path("ca.key"),
    name: Annotated[str, typer.Option(metavar="TEXT", help="Common name.")] = "egress gateway",
    days: CaDays = 3650,
    permit: Annotated[
        list[str] | None, typer.Option(metavar="DOMAIN", help="Sign only below this domain; may be repeated.")
    ] = None,
) -> None:
    """Make a new authority.

    It is two files: the certificate, and the key, which only its owner can read.

    \b
    egress-gateway ca init --cert ca.crt --key ca.key
    egress-gateway ca init --permit example.com --permit example.org

    No file is overwritten. Name both in gateway.yaml, as inspection.ca_cert and inspection.ca_key.

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
    """Show what clients should trust.

    For each certificate its name, expiry, domains that it is confined to, and fingerprint.

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
    step: Annotated[str, typer.Option(metavar="publish|switch|withdraw", help="Which step.")] = "publish",
    days: CaDays = 3650,
) -> None:
    """Replace the authority without an outage, one step per call.

    \b
    publish    make the next authority; clients should trust both, the old one signs
    switch     once all clients have the new bundle: the new one signs
    withdraw   once nothing signed by the old one is valid: only the new one is trusted

    A running gateway notices each step by itself. Steps cannot be taken out of order.

    Status 0; 2 if another step is next, or a file cannot be read or written.
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
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="PEM, such as /ca-bundle.pem of the health port.")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make.")] = Path("truststore.p12"),
    password: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The file's, which holds no secret; default changeit.")
    ] = None,
) -> None:
    """Convert the authorities of a PEM bundle to PKCS #12, for Java.

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
