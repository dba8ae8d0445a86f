"""The command line: its commands, and how they report errors and exit.

What a command needs is imported when it runs, so that `--help` answers at once.
"""
# ruff: noqa: PLC0415

import errno
import gc
import os
import signal
import sys
import sysconfig
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ca.commands import ca
from gateway.cli.ending import fail, until_interrupted
from gateway.cli.insight.commands import learn, replay, report
from gateway.cli.migrating.commands import env, import_, network_policy
from gateway.cli.observing.commands import observe
from gateway.cli.options import Config, TableOrJson, wants_json
from gateway.cli.routing.commands import routes

app = typer.Typer(
    name="egress-gateway",
    help="A forward proxy that decides, by name, where workloads may connect, and records every attempt.",
    epilog="Keys of both files: docs/policy.md, or `egress-gateway schema`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

GC_THRESHOLD = 100_000
"""What a command imports and builds stays: collecting garbage again and again is a seventh of a start."""

PolicyPath = Annotated[
    Path | None, typer.Option("--policy", metavar="PATH", help="A policy file or directory, instead of FILE's.")
]


def main() -> None:
    """The entry point of the console script and of `python -m gateway`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # else Ctrl-C during an import prints a traceback
    gc.set_threshold(GC_THRESHOLD)
    fill_standard_streams()
    share_import_path()
    for stream in (sys.stdout, sys.stderr):  # characters that its encoding does not have are escaped
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="egress-gateway")
    except OSError as error:
        end_if_output_is_full(error)
        raise
    except SystemExit as ending:
        if isinstance(ending.__context__, BrokenPipeError):  # typer's status is 1 then, which would be a finding
            sys.exit(2)
        raise


def fill_standard_streams() -> None:
    """Open what the caller closed, for nobody: else the next file or socket takes its number, and all that is written
    there, and libuv aborts the process when it closes one."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free, so this one
            setattr(sys, name, os.fdopen(number, mode))


def end_if_output_is_full(error: OSError) -> None:
    """End with one line and status 2 if standard output is on a full disk, since 1 would be a finding. Not for `run`,
    which prints no answer: there the disk is that of something else."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or sys.argv[1:2] == ["run"]:
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still buffered, and flushed at exit
    typer.echo(f"standard output: {error.strerror}", err=True)
    sys.exit(2)


def share_import_path() -> None:
    """Make child processes import the same code as this one, even if it is not installed. They are started with `-P`:
    others may be able to write to the working directory, and nothing in it must run."""
    package = str(Path(__file__).parents[2])
    if package != sysconfig.get_path("purelib"):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"egress-gateway {version('egress-gateway')}")
        except PackageNotFoundError:  # a checkout that was not installed
            typer.echo("egress-gateway (not installed)")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A forward proxy that decides, by name, where workloads may connect, and records every attempt."""


def run(
    config: Config = None,
    policy: PolicyPath = None,
    listen: Annotated[
        str | None, typer.Option(metavar="ADDR:PORT", help="The one address to listen on, instead of FILE's.")
    ] = None,
    workers: Annotated[str | None, typer.Option(metavar="N", help="Number of processes, or auto.")] = None,
) -> None:
    """Start the gateway, and serve until SIGTERM.

    SIGTERM and SIGINT drain, a second signal ends at once; SIGHUP reloads the policy; SIGUSR2 replaces the workers.

    \b
    egress-gateway run -c config/quickstart.yaml
    egress-gateway run --policy policy.yaml --listen 127.0.0.1:3128

    Status 2 if a file is invalid, with one line per problem; 1 if workers end as fast as they are started.
    """
    import json
    import re

    from gateway.app.workers.crew import CrewFailed
    from gateway.cli.run import run_gateway
    from gateway.model.errors import ConfigError
    from gateway.settings.problems import BadValue, ConfigErrors
    from gateway.settings.units import parse_endpoint

    overrides: dict[str, str] = {}
    if listen is not None:
        try:
            parse_endpoint(listen)
        except BadValue as bad:
            fail(f"--listen: {bad}")
        overrides["EGRESS__LISTENERS"] = json.dumps([{"name": "proxy", "bind": listen}])
    if workers is not None:
        if workers != "auto" and not re.fullmatch("[1-9][0-9]*", workers, re.ASCII):
            fail(f"--workers: must be a whole number from 1, or auto, not {workers!r}")
        overrides["EGRESS__WORKERS"] = workers
    try:
        run_gateway(config, policy, overrides)
    except (ConfigError, ConfigErrors) as refusal:
        fail(refusal)
    except CrewFailed as failure:
        fail(failure, 1)


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="gateway.yaml files, policy files or policy directories.", readable=False),
    ] = None,
    config: Config = None,
) -> None:
    """Validate a policy or a gateway.yaml.

    All problems are reported at once, each as FILE:LINE: path: message.

    \b
    egress-gateway check                      ./gateway.yaml and the policy that it names
    egress-gateway check config/team.yaml     either kind: detected from the content
    egress-gateway check policy/              a directory is one policy
    egress-gateway check -c gateway.yaml policy/      with the secrets, inspectors and so on of gateway.yaml

    Status 0 if there are no problems (warnings may remain), else 1.
    """
    from gateway.cli.check import check_files

    raise typer.Exit(0 if check_files(files or [], config) else 1)


def explain(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://host[:port], http://host[:port] or host:port.")],
    config: Config = None,
    policy: PolicyPath = None,
    client: Annotated[
        str | None, typer.Option(metavar="NAME", help="Ask as a member of this group, or as this user.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="ADDR", help="The client's address; default 127.0.0.1, or the group's."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="M", help="CONNECT asks about a tunnel even if the URL says http://.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Also connect from here: resolve, screen, dial, check the TLS certificate.")
    ] = False,
) -> None:
    """Show which rule decides about a destination, and why.

    Prints the verdict, the rules that nearly matched, and what would allow the destination. Nothing is resolved or
    dialled, unless --live is given and the destination is allowed; each step is then shown with its duration.

    \b
    egress-gateway explain https://api.example.com
    egress-gateway explain --policy policy.yaml --client payments db.example.com:5432
    egress-gateway explain --live https://api.example.com
    egress-gateway explain -c gateway.yaml --from 10.20.0.7 http://198.51.100.7/

    Status 0 for allow, 1 for deny, 2 if there is no verdict, or with --live the destination cannot be reached.
    """
    from gateway.cli.explaining.explain import explain_url
    from gateway.cli.explaining.question import Unanswerable, Unreached
    from gateway.settings.problems import ConfigErrors

    try:
        allowed = explain_url(url, config, policy, client, source, method, live)
    except (ConfigErrors, Unanswerable, Unreached) as refusal:
        fail(refusal)
    raise typer.Exit(0 if allowed else 1)


def limits(
    config: Config = None,
    output: TableOrJson = "table",
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Part of the limit's name.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Repeat every second.")] = False,
) -> None:
    """Show the state of limits, and whom they refused.

    Asks the running gateway at `admin.bind`, with the token of `admin.token_file` if there is one.

    Status 0; 2 if the gateway does not answer.
    """
    from gateway.cli.admin_port import NoAnswer
    from gateway.cli.limits import print_limits
    from gateway.settings.problems import ConfigErrors

    as_json = wants_json(output)
    try:
        with until_interrupted():
            print_limits(config, name, as_json, follow)
    except (ConfigErrors, NoAnswer) as refusal:
        fail(refusal)


def tunnels(
    action: Annotated[str, typer.Argument(metavar="list|close", help="List open tunnels, or close one.")] = "list",
    connection_id: Annotated[str | None, typer.Argument(metavar="ID", help="The tunnel to close.")] = None,
    config: Config = None,
    output: TableOrJson = "table",
    host: Annotated[str | None, typer.Option(metavar="TEXT", help="Only hosts with this in their name.")] = None,
    client: Annotated[str | None, typer.Option(metavar="WHO", help="Only this client: an address or a user.")] = None,
    rule: Annotated[str | None, typer.Option(metavar="TEXT", help="Only rules with this in their full name.")] = None,
) -> None:
    """Show the tunnels that are open now, or close one.

    Asks the running gateway at `admin.bind`, with the token of `admin.token_file` if there is one.

    \b
    egress-gateway tunnels --client 10.20.0.7
    egress-gateway tunnels -o json --host api.example.com
    egress-gateway tunnels close 0f3a9c5e17b2d846      (needs admin.token_file)

    Status 0; 1 if there is no such tunnel; 2 if the gateway does not answer.
    """
    from gateway.cli.admin_port import NoAnswer
    from gateway.cli.tunnels import Wanted, close_one, print_tunnels
    from gateway.settings.problems import ConfigErrors

    as_json = wants_json(output)
    try:
        match (action, connection_id):
            case ("list", None):
                print_tunnels(config, Wanted(host, client, rule), as_json)
            case ("close", str()):
                if not close_one(config, connection_id):
                    typer.echo(f"there is no open tunnel {connection_id}", err=True)
                    raise typer.Exit(1)
            case _:
                fail("say `tunnels`, `tunnels list` or `tunnels close ID`")
    except (ConfigErrors, NoAnswer) as refusal:
        fail(refusal)


def schema(kind: Annotated[str, typer.Argument(metavar="gateway|policy", help="The file to describe.")]) -> None:
    """Print a JSON Schema for editors.

    \b
    egress-gateway schema policy > policy.schema.json
    # yaml-language-server: $schema=policy.schema.json      (as the first line of policy.yaml)

    Status 0; 2 if there is no such schema.
    """
    import json

    from gateway.settings.schema import gateway_schema, policy_schema

    schemas = {"gateway": gateway_schema, "policy": policy_schema}
    if kind not in schemas:
        fail(f"there is a schema of gateway and of policy, not of {kind!r}")
    typer.echo(json.dumps(schemas[kind](), indent=2, ensure_ascii=False))


for command in (run, check, explain, tunnels, observe, limits, report, learn, replay):  # as `--help` shows them
    app.command()(command)
app.command("import")(import_)
for printing in (env, network_policy, schema):
    app.command()(printing)
app.add_typer(ca, name="ca")
app.add_typer(routes)
