"""`egress-gateway routes`: nftables and policy routing that lead traffic to a transparent listener."""
# What a command needs is imported when it runs, so that `--help` answers at once.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ending import fail

_ABOUT = """Lead TCP to a transparent listener, and let nothing bypass it.

All rules are in one nftables table, egress_gateway (family inet), which is replaced in one transaction; `tproxy` adds
one routing rule and one routing table for each IP version. Nothing else on the machine is read or changed.

PLACE is where the rules apply:

\b
redirect  on a machine that routes for others, by NAT: the gateway needs no privilege
tproxy    the same without NAT: cheaper, with `source: client`; the gateway needs CAP_NET_ADMIN or CAP_NET_RAW
pod       in the workload's own network namespace, run by an init container

TCP to every port and address except this machine's own is captured. UDP to port 443 is rejected at once,
so that QUIC clients fall back to TCP. Everything else that clients send is dropped and, except in a pod, so are
connections from others to them. Use --pass for networks that must be reached directly, such as the cluster's DNS.

\b
egress-gateway routes print tproxy -i eth1 --port 15001
egress-gateway routes apply tproxy -i eth1 -i eth2 --pass 10.96.0.10 --pass fd00:96::a
egress-gateway routes apply pod --uid 1337 --port 15001 --pass 10.96.0.10
egress-gateway routes remove
"""

routes = typer.Typer(
    name="routes",
    help=_ABOUT,
    short_help="Lead traffic to a transparent listener with nftables.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Place = Annotated[str, typer.Argument(metavar="PLACE", help="redirect, tproxy or pod.")]
Port = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=65535, help="The transparent listener's; by default from gateway.yaml."),
]
Config = Annotated[Path | None, typer.Option("-c", "--config", metavar="FILE", help="gateway.yaml, for the port.")]
Interface = Annotated[
    list[str] | None,
    typer.Option("-i", "--interface", metavar="NAME", help="Where clients arrive; repeatable. Not for pod."),
]
Uid = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="The gateway's user, who is not captured. For pod only.")
]
Passed = Annotated[
    list[str] | None,
    typer.Option("--pass", metavar="CIDR", help="Network to reach directly, by any protocol; repeatable."),
]
Mark = Annotated[
    str | None, typer.Option(metavar="BIT", help="Bit of the packet (for pod: connection) mark; 0x1000 by default.")
]


@routes.command("print")
def print_(
    place: Place,
    port: Port = None,
    config: Config = None,
    interface: Interface = None,
    uid: Uid = None,
    passed: Passed = None,
    mark: Mark = None,
) -> None:
    """Print what `apply` would do, as a shell script.

    Status 0; 2 if an option is missing or invalid.
    """
    from gateway.cli.routing.capture import Unusable, read_capture
    from gateway.lock.steps import script, steps_to_apply
    from gateway.settings.problems import ConfigErrors

    try:
        capture = read_capture(place, port, config, interface, uid, passed, mark)
    except (ConfigErrors, Unusable) as refusal:
        fail(refusal)
    typer.echo(script(steps_to_apply(capture)), nl=False)


@routes.command()
def apply(
    place: Place,
    port: Port = None,
    config: Config = None,
    interface: Interface = None,
    uid: Uid = None,
    passed: Passed = None,
    mark: Mark = None,
) -> None:
    """Apply what `print` shows, replacing what an earlier `apply` made.

    Status 0; 2 with a line that says which program or privilege is missing.
    """
    from gateway.cli.routing.capture import Unusable, read_capture
    from gateway.lock.kernel import KernelRefused, run
    from gateway.lock.steps import steps_to_apply
    from gateway.settings.problems import ConfigErrors

    try:
        run(steps_to_apply(read_capture(place, port, config, interface, uid, passed, mark)))
    except (ConfigErrors, KernelRefused, Unusable) as refusal:
        fail(refusal)


@routes.command()
def remove() -> None:
    """Remove everything that `apply` made, if anything.

    Status 0; 2 if a program or a privilege is missing.
    """
    from gateway.lock.kernel import KernelRefused, run
    from gateway.lock.steps import steps_to_remove

    try:
        run(steps_to_remove())
    except KernelRefused as refusal:
        fail(refusal)
