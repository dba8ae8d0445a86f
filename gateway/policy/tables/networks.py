"""Networks by address: a look-up for each prefix length, however many networks there are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from gateway.model.addresses import WIDTH, Address, Network, Version
from gateway.policy.tables.divided import Divided, Entries, is_full, take_down
from gateway.policy.tables.packed import Packed

T = TypeVar("T")


def packed_key(network: Network) -> bytes:
    """The key of a network in a packed table."""
    shift = WIDTH[network.version] - network.length
    return _packed_key(network.version, shift, network.value >> shift)


def _packed_key(version: Version, shift: int, prefix: int) -> bytes:
    return bytes((version, shift)) + prefix.to_bytes(WIDTH[version] // 8, "big")


class NetworkTable(Generic[T]):
    """A map from networks to values, none of which may be None; unchanged once it is asked.

    `packed` holds further networks, which must not be added as well; `packed_lengths` are their prefix lengths.
    """

    __slots__ = ("_by_length", "_packed")

    def __init__(
        self,
        entries: Mapping[Network, T] | None = None,
        packed: Packed[T] | None = None,
        packed_lengths: Iterable[tuple[Version, int]] = (),
    ) -> None:
        # The longest prefix first: the smallest shift.
        self._by_length: dict[Version, tuple[tuple[int, Entries[int, T]], ...]] = {4: (), 6: ()}
        self._packed = packed
        for version, length in packed_lengths:
            self._put(version, WIDTH[version] - length, {})
        for network, value in (entries or {}).items():
            self.add(network, value)

    def add(self, network: Network, value: T) -> None:
        """One network more; the last value of a network counts."""
        version, shift = network.version, WIDTH[network.version] - network.length
        table = self._of_length(version, shift)
        if table is None:
            table = self._put(version, shift, {})
        elif is_full(table):
            table = self._put(version, shift, Divided(table))
        table[network.value >> shift] = value

    def at(self, network: Network) -> T | None:
        """The value of this very network, unless it is packed."""
        shift = WIDTH[network.version] - network.length
        table = self._of_length(network.version, shift)
        return None if table is None else table.get(network.value >> shift)

    def _of_length(self, version: Version, shift: int) -> Entries[int, T] | None:
        return next((table for known, table in self._by_length[version] if known == shift), None)

    def _put(self, version: Version, shift: int, table: Entries[int, T]) -> Entries[int, T]:
        """Make it the table of that length."""
        others = (other for other in self._by_length[version] if other[0] != shift)
        self._by_length[version] = tuple(sorted((*others, (shift, table)), key=lambda item: item[0]))
        return table

    def find(self, address: Address) -> list[T]:
        """The values of all networks that hold `address`, the longest prefix first."""
        if self._packed is not None:
            return [value for _, value in self.around(address)]
        value = address.value
        found = []
        for shift, table in self._by_length[address.version]:
            if (hit := table.get(value >> shift)) is not None:
                found.append(hit)
        return found

    def around(self, address: Address) -> Iterator[tuple[int, T]]:
        """The same, each with the length of its prefix."""
        version, value = address.version, address.value
        packed = self._packed
        for shift, table in self._by_length[version]:
            hit = table.get(value >> shift)
            if hit is None and packed is not None:
                hit = packed.get(_packed_key(version, shift, value >> shift))
            if hit is not None:
                yield WIDTH[version] - shift, hit

    def longest(self, address: Address) -> T | None:
        """The value of the longest prefix that holds `address`."""
        if self._packed is not None:
            return next((value for _, value in self.around(address)), None)
        value = address.value
        for shift, table in self._by_length[address.version]:
            if (hit := table.get(value >> shift)) is not None:
                return hit
        return None

    def __contains__(self, address: Address) -> bool:
        return self.longest(address) is not None

    def __bool__(self) -> bool:
        return bool(self._by_length[4] or self._by_length[6])

    def take_down(self) -> Iterator[None]:
        """Empty it, a slice before each yield."""
        packed, self._packed = self._packed, None
        if packed is not None:
            yield from packed.take_down()
        for by_length in self._by_length.values():
            for _, table in by_length:
                yield from take_down(table)


_EMPTY: NetworkTable[Network] = NetworkTable({})


def network_set(networks: Sequence[Network]) -> NetworkTable[Network]:
    """The networks alone, to ask whether, and by which one, an address is covered."""
    return NetworkTable({network: network for network in networks}) if networks else _EMPTY
