"""The commands `import`, `env` and `network-policy`: their options and how they end."""
# What a command needs is imported when it runs, so that `--help` answers at once.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ending import fail

GATEWAY = "http://egress-gateway.egress-gateway.svc.cluster.local:3128"


def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="smokescreen, squid, istio, cilium, network-policy.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="One for smokescreen and squid; - for stdin.")],
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept all findings: status 0, and print wider rules as well.")
    ] = False,
    ports: Annotated[
        str | None, typer.Option(metavar="80,443", help="smokescreen: the ports of its names; any by default.")
    ] = None,
    role: Annotated[str, typer.Option(metavar="KEY", help="smokescreen: a role is a user or a namespace.")] = "user",
    inspect: Annotated[bool, typer.Option("--inspect", help="smokescreen: inspect what mitm_domains names.")] = False,
) -> None:
    """Convert the rules of another proxy or mesh to a policy.

    A comment beside every host and rule names its source. Standard error lists, by file and line, what was left out
    (less is allowed), what would be WIDER (more is allowed; nothing is then printed without --accept), and what each
    wildcard became. The network is not used; files that squid.conf includes are read.

    \b
    egress-gateway import smokescreen acl.yaml --ports 80,443 > policy.yaml
    egress-gateway import squid /etc/squid/squid.conf > policy.yaml
    kubectl get cnp,ccnp -A -o yaml | egress-gateway import cilium - > policy.yaml

    Status 0; 1 if something was left out or would be wider, unless --accept; 2 if a file is unreadable or another kind.
    """
    from gateway.cli.migrating.importing import SOURCES, ImportOptions, import_files
    from gateway.migrate.findings import Unreadable
    from gateway.settings.problems import BadValue, ConfigErrors

    if source not in SOURCES:
        fail(f"SOURCE is one of {', '.join(SOURCES)}, not {source!r}")
    if role not in ("user", "namespace"):
        fail(f"--role is user or namespace, not {role!r}")
    if source != "smokescreen" and (ports, role, inspect) != (None, "user", False):
        fail("--ports, --role and --inspect are for smokescreen")
    try:
        whole = import_files(source, files, ImportOptions(ports, role, inspect, accept))
    except BadValue as refusal:
        fail(f"--ports: {refusal}")
    except (ConfigErrors, Unreadable) as refusal:
        fail(refusal)
    raise typer.Exit(0 if whole else 1)


def env(
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", metavar="NAME", help="Repeatable; all by default.")
    ] = None,
    proxy: Annotated[str, typer.Option(metavar="URL", help="The gateway's URL for clients.")] = GATEWAY,
    ca: Annotated[
        str | None, typer.Option(metavar="PATH", help="Path of /ca-bundle.pem where clients run; for inspection.")
    ] = None,
    truststore: Annotated[str | None, typer.Option(metavar="PATH", help="The same CAs as PKCS #12, for Java.")] = None,
    truststore_password: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The trust store's password; changeit by default.")
    ] = None,
    no_proxy: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Reach directly: names with subdomains, addresses, CIDRs.")
    ] = None,
    cluster_domain: Annotated[str, typer.Option(metavar="NAME", help="'' outside of a cluster.")] = "cluster.local",
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FORMAT", help="shell, dotenv, kubernetes or json.")
    ] = "shell",
) -> None:
    """Print the variables that make clients use the gateway.

    Prints the proxy variables in upper and lower case, NO_PROXY as each runtime expects it, and with --ca what makes
    each runtime trust the gateway's CA. Comments say what cannot be done by a variable.

    Runtimes: apt aws curl deno dotnet elixir gcloud git go grpc java node php python ruby rust wget.

    \b
    eval "$(egress-gateway env --proxy http://127.0.0.1:3128 --cluster-domain '')"
    egress-gateway env --runtime python --runtime git -o dotenv > .env
    egress-gateway env --ca /etc/egress-gateway/ca-bundle.pem -o kubernetes

    Status 0; 2 if an option is invalid.
    """
    from gateway.migrate.workloads.exemptions import InvalidExemption, read_exemptions
    from gateway.migrate.workloads.formats import FORMATS, IN_CLUSTER, block_text
    from gateway.migrate.workloads.variables import ALL, USUAL_PASSWORD, InvalidSetup, Setup, block_for, read_proxy

    if output not in FORMATS:
        fail(f"-o is {', '.join(FORMATS)}, not {output!r}")
    verbatim = [IN_CLUSTER] if output == "kubernetes" and cluster_domain else []
    try:
        exempt = read_exemptions(cluster_domain or None, no_proxy or [], verbatim)
        setup = Setup(read_proxy(proxy), exempt, ca, truststore, truststore_password or USUAL_PASSWORD)
        block = block_for(runtime or [ALL], setup)
    except (InvalidExemption, InvalidSetup) as refusal:
        fail(refusal)
    typer.echo(block_text(block, output), nl=False)


def network_policy(
    namespace: Annotated[str, typer.Option("-n", "--namespace", metavar="NAME", help="The namespace to lock.")],
    selector: Annotated[str, typer.Option(metavar="KEY=VALUE,...", help="Only these pods; all by default.")] = "",
    gateway_namespace: Annotated[str, typer.Option(metavar="NAME", help="The gateway's namespace.")] = "egress-gateway",
    gateway_selector: Annotated[
        str, typer.Option(metavar="KEY=VALUE,...", help="The gateway's pods.")
    ] = "app.kubernetes.io/name=egress-gateway",
    port: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, max=65535, help="The gateway's port; repeatable. 3128 by default."),
    ] = None,
    dns_namespace: Annotated[str, typer.Option(metavar="NAME", help="The name servers' namespace.")] = "kube-system",
    dns_selector: Annotated[
        str, typer.Option(metavar="KEY=VALUE,...", help="The name servers' pods.")
    ] = "k8s-app=kube-dns",
    dns_port: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, max=65535, help="Their port; repeatable. 53 by default; OpenShift: 5353."),
    ] = None,
    resolver: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="A name server outside of pods, such as a node's cache.")
    ] = None,
) -> None:
    """Print the NetworkPolicy that locks a namespace.

    Its pods can then reach only DNS and the gateway. Policies add up: another one in the namespace may allow more.
    A network plug-in that does not enforce NetworkPolicy locks nothing, and pods on the host network are never locked.

    \b
    egress-gateway network-policy --namespace payments | kubectl apply -f -
    egress-gateway network-policy -n payments --selector tier=batch --resolver 169.254.20.10

    Status 0; 2 if an option is invalid.
    """
    from gateway.lock.network_policy import DNS_PORTS, InvalidName, Lock, Peer, lock_manifest, parse_labels
    from gateway.model.addresses import parse_network

    resolvers = {text: parse_network(text) for text in resolver or []}
    for text, network in resolvers.items():
        if network is None:
            fail(f"--resolver: {text!r} is not an address")
    try:
        gateway = Peer(gateway_namespace, parse_labels(gateway_selector))
        dns = Peer(dns_namespace, parse_labels(dns_selector))
        known = tuple(network for network in resolvers.values() if network is not None)
        pods, dns_ports = parse_labels(selector), tuple(dns_port or DNS_PORTS)
        lock = Lock(namespace, gateway, tuple(port or [3128]), dns, known, pods, dns_ports)
        text = lock_manifest(lock)
    except InvalidName as refusal:
        fail(refusal)
    typer.echo(text, nl=False)
