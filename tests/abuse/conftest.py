"""One gateway for everything in here."""

from collections.abc import Iterator

import pytest

from tests.abuse.bed import Bed, bed


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with bed(tmp_path_factory.mktemp("abuse")) as made:
        yield made
