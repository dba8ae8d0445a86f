"""Files with CA certificates."""

import ssl

from gateway.settings.problems import BadValue


def parse_authorities(text: str) -> str:
    """The text in the form that OpenSSL accepts. Raises `BadValue` if there is no certificate in it."""
    plain = text.encode("ascii", "replace").decode()  # comments may hold any characters
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=plain)
    except (ssl.SSLError, ValueError) as refusal:  # ValueError: it is empty
        raise BadValue("holds no CA certificate in PEM form") from refusal
    return plain
