"""Networks by address: as many look-ups as there are prefix lengths, however many networks there are."""

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from gateway.model.addresses import WIDTH, Address, Network, Version

T = TypeVar("T")


class NetworkTable(Generic[T]):
    """An immutable map from networks to values; no value may be None."""

    __slots__ = ("_by_length", "_filled")

    def __init__(self, entries: Mapping[Network, T]) -> None:
        self._filled = bool(entries)
        tables: dict[Version, dict[int, dict[int, T]]] = {4: {}, 6: {}}
        for network, value in entries.items():
            shift = WIDTH[network.version] - network.length
            tables[network.version].setdefault(shift, {})[network.value >> shift] = value
        # The longest prefix first: the smallest shift.
        self._by_length: dict[Version, tuple[tuple[int, dict[int, T]], ...]] = {
            version: tuple(sorted(by_shift.items(), key=lambda item: item[0])) for version, by_shift in tables.items()
        }

    def find(self, address: Address) -> list[T]:
        """The values of all networks that hold `address`, the longest prefix first."""
        value = address.value
        found = []
        for shift, table in self._by_length[address.version]:
            if (hit := table.get(value >> shift)) is not None:
                found.append(hit)
        return found

    def longest(self, address: Address) -> T | None:
        """The value of the longest prefix that holds `address`."""
        value = address.value
        for shift, table in self._by_length[address.version]:
            if (hit := table.get(value >> shift)) is not None:
                return hit
        return None

    def __contains__(self, address: Address) -> bool:
        return self.longest(address) is not None

    def __bool__(self) -> bool:
        return self._filled


_EMPTY: NetworkTable[Network] = NetworkTable({})


def network_set(networks: Sequence[Network]) -> NetworkTable[Network]:
    """The networks by themselves, for asking whether (and through which one) an address is inside."""
    return NetworkTable({network: network for network in networks}) if networks else _EMPTY
