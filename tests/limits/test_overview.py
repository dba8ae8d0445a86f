"""How full buckets are, as operators see them."""

from gateway.limits.overview import overview
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Now

HELD = Limit("held", Counted.CONCURRENT, rate=4.0)
NOW = Now(1000.0, 1000.0)


def test_a_bucket_that_refused_is_shown_also_where_nothing_is_drawn_from_it_any_more() -> None:
    refused = {("held", ("10.0.0.1",)): 3, ("held", ("10.0.0.2",)): 1, ("removed", ()): 9}
    fills = overview([(("held", ("10.0.0.2",)), (1.0, 0.0))], {"held": HELD}, refused, NOW)
    assert [(fill.key, fill.left, fill.used, fill.refused) for fill in fills] == [
        (("10.0.0.1",), 4.0, 0.0, 3),
        (("10.0.0.2",), 3.0, 0.25, 1),
    ]
