"""Destinations that are reached without the proxy, spelled for every runtime.

curl, requests and Go read a name as "this name and all below it", Node's http and .NET as "this name only"; a leading
dot means "all below" to most and "both" to some; networks are understood only by curl (7.86), requests, Go and Ruby. So
a suffix is given with a dot and without, and what must be exempt everywhere by its name or address. Java has a list of
its own, with stars.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.model.addresses import Network, parse_address, parse_network
from gateway.model.names import parse_host_name

LOCAL = ("localhost", "127.0.0.1", "::1")
_IN_CLUSTER = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")


class InvalidExemption(ValueError):
    """Not a name, address or network; the text says what."""


@dataclass(frozen=True, slots=True)
class Exemptions:
    """`suffixes` are names with all that is below them; `exact` are names and addresses; `verbatim` is inserted as it
    is, for what is only known where the variables are read."""

    suffixes: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    verbatim: tuple[str, ...] = ()

    def no_proxy(self) -> str:
        """NO_PROXY. Names first, so that a runtime that stops at what it does not understand has seen them."""
        both = [spelling for suffix in self.suffixes for spelling in (f".{suffix}", suffix)]
        networks = [str(network) for network in self.networks]
        return ",".join(dict.fromkeys((*LOCAL, *self.exact, *both, *self.verbatim, *networks)))

    def non_proxy_hosts(self) -> str:
        """Java's `http.nonProxyHosts`. A star is first or last, so it can only name networks of whole octets."""
        both = [spelling for suffix in self.suffixes for spelling in (f"*.{suffix}", suffix)]
        networks = [text for network in self.networks for text in _octets(network)]
        return "|".join(dict.fromkeys(("localhost", "127.*", "[::1]", *self.exact, *both, *self.verbatim, *networks)))

    def beyond_java(self) -> tuple[Network, ...]:
        """The networks that `non_proxy_hosts` cannot express."""
        return tuple(network for network in self.networks if not _octets(network))


def _octets(network: Network) -> tuple[str, ...]:
    if network.version == 6 or network.length not in (8, 16, 24, 32):
        return ()
    octets = str(network).partition("/")[0].split(".")[: network.length // 8]
    return (".".join(octets) + ("" if network.length == 32 else ".*"),)


def read_exemptions(cluster_domain: str | None, given: Iterable[str], verbatim: Iterable[str] = ()) -> Exemptions:
    """`cluster_domain` is None outside of a cluster. A leading dot or `*.` in `given` is dropped: a name includes all
    below it. Raises `InvalidExemption`."""
    if cluster_domain is not None and parse_host_name(cluster_domain) is None:
        raise InvalidExemption(f"the cluster domain {cluster_domain!r} is not a name such as cluster.local")
    suffixes = ["svc", f"svc.{_name(cluster_domain)}", _name(cluster_domain)] if cluster_domain is not None else []
    exact = list(_IN_CLUSTER) if cluster_domain is not None else []
    networks: list[Network] = []
    for entry in _split(given):
        network = parse_network(entry)
        if parse_address(entry) is not None:
            exact.append(entry)
        elif network is not None:
            networks.append(network)
        else:
            suffixes.append(_name(entry.removeprefix("*").removeprefix(".")))
    return Exemptions(tuple(suffixes), tuple(exact), tuple(networks), tuple(verbatim))


def _split(given: Iterable[str]) -> Iterator[str]:
    for each in given:
        yield from (word.strip() for word in each.split(",") if word.strip())


def _name(text: str) -> str:
    name = parse_host_name(text)
    if name is None:
        raise InvalidExemption(f"{text!r} is not a name, address or network")
    return name
