"""What a store's URL says."""

import pytest

from gateway.limits.store_url import parse_store_url


def test_a_url_says_form_hosts_and_login() -> None:
    place = parse_store_url("rediss://us%40er:p%2Fw@cache:6390/3?ssl_ca_certs=/ca.pem")
    assert (place.form, place.tls, place.hosts, place.database) == ("redis", True, (("cache", 6390),), 3)
    assert (place.username, place.password, place.options) == ("us@er", "p/w", {"ssl_ca_certs": "/ca.pem"})


def test_sentinels_and_clusters_have_many_hosts() -> None:
    sentinel = parse_store_url("redis+sentinel://one,two:26380/master/1")
    assert sentinel.hosts == (("one", 26379), ("two", 26380))
    assert (sentinel.service, sentinel.database) == ("master", 1)
    assert parse_store_url("redis+cluster://[2001:db8::1]:7000,other").hosts == (("2001:db8::1", 7000), ("other", 6379))


@pytest.mark.parametrize(
    "url",
    [
        *("http://a", "redis+ring://a", "redis://a/b", "redis://a/1/2", "redis+sentinel://a", "redis://:x@:1/0"),
        *(
            "rediss://a?token=s3cret",
            "rediss://a?s3cret",
            "rediss://a?socket_timeout=5",
            "redis://a?ssl_ca_certs=/s3cret",
        ),
        *("redis://u:6379#s3cret@a", "redis://a/0#s3cret", "redis://a/0#", "rediss://a?ssl_cert_reqs=s3cret"),
        *("redis://a:65536", "redis://a:0", "redis://[::1", "redis://u:s3cret\u2100@a"),
    ],
)
def test_what_is_no_such_url_is_refused_in_words_that_hold_nothing_of_it(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as refused:
        parse_store_url(url)
    assert "s3cret" not in str(refused.value)
