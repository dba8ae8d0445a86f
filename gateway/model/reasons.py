"""Why a connection did not simply pass: one vocabulary for records, metrics, spans and errors.

A reason is added together with the feature that can produce it and is described in docs/reasons.md.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Stable snake-case values; they stand in the record's `reason` and in `error.type`."""

    # The client broke the protocol or was too slow.
    MALFORMED_REQUEST = "malformed_request"
    MALFORMED_AUTHORITY = "malformed_authority"
    NOT_A_PROXY_REQUEST = "not_a_proxy_request"
    TLS_ON_PLAIN_PORT = "tls_on_plain_port"
    HEAD_TOO_LARGE = "head_too_large"
    UNSUPPORTED_TRANSFER_CODING = "unsupported_transfer_coding"
    HEAD_TIMEOUT = "head_timeout"
    HTTPS_WITHOUT_CONNECT = "https_without_connect"
    BODY_TIMEOUT = "body_timeout"
    CLIENT_CLOSED = "client_closed"
    CLIENT_SILENT = "client_silent"
    CLIENT_HELLO_TIMEOUT = "client_hello_timeout"
    MALFORMED_CLIENT_HELLO = "malformed_client_hello"
    CLIENT_HELLO_TOO_LARGE = "client_hello_too_large"
    PLAIN_ON_TLS_PORT = "plain_on_tls_port"
    TLS_HANDSHAKE_FAILED = "tls_handshake_failed"
    TLS_HANDSHAKE_TIMEOUT = "tls_handshake_timeout"
    PROXY_HEADER_MISSING = "proxy_header_missing"
    PROXY_HEADER_MALFORMED = "proxy_header_malformed"

    # Policy said no.
    NO_RULE = "no_rule"
    DENIED_BY_RULE = "denied_by_rule"
    PROTOCOL_MISMATCH = "protocol_mismatch"
    IN_CLUSTER_NAME = "in_cluster_name"
    ADDRESS_REFUSED = "address_refused"
    SNI_MISSING = "sni_missing"
    SNI_MISMATCH = "sni_mismatch"
    SNI_DENIED = "sni_denied"
    ECH_DENIED = "ech_denied"
    HOST_MISMATCH = "host_mismatch"
    HOST_DENIED = "host_denied"
    REQUEST_DENIED = "request_denied"
    MEDIA_TYPE_DENIED = "media_type_denied"
    BODY_TOO_LARGE = "body_too_large"
    SECRET_NEEDS_TLS = "secret_needs_tls"
    CREDENTIALS_MISSING = "credentials_missing"
    CREDENTIALS_INVALID = "credentials_invalid"
    CLIENT_CERTIFICATE_MISSING = "client_certificate_missing"
    CLIENT_CERTIFICATE_INVALID = "client_certificate_invalid"
    PROXY_HEADER_REFUSED = "proxy_header_refused"

    # The destination could not be resolved, reached or trusted.
    DNS_NAME_NOT_FOUND = "dns_name_not_found"
    DNS_NO_ADDRESS = "dns_no_address"
    DNS_FAILURE = "dns_failure"
    DNS_TIMEOUT = "dns_timeout"
    PROXY_LOOP = "proxy_loop"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_UNROUTABLE = "connection_unroutable"
    CONNECTION_TIMEOUT = "connection_timeout"
    LOCAL_PORTS_EXHAUSTED = "local_ports_exhausted"
    CONNECTION_TERMINATED = "connection_terminated"
    RESPONSE_TIMEOUT = "response_timeout"
    UPGRADE_FAILED = "upgrade_failed"
    MALFORMED_RESPONSE = "malformed_response"
    RESPONSE_HEAD_TOO_LARGE = "response_head_too_large"
    RESPONSE_INCOMPLETE = "response_incomplete"
    RESPONSE_ENCODED = "response_encoded"

    # An open tunnel ended other than by both sides closing.
    DOWNSTREAM_RESET = "downstream_reset"
    UPSTREAM_RESET = "upstream_reset"
    IDLE_TIMEOUT = "idle_timeout"
    LIFETIME_REACHED = "lifetime_reached"
    POLICY_CHANGED = "policy_changed"
    CLOSED_BY_OPERATOR = "closed_by_operator"

    # The gateway itself.
    DRAINING = "draining"
    TOO_MANY_TUNNELS = "too_many_tunnels"
    TOO_MANY_TUNNELS_OF_CLIENT = "too_many_tunnels_of_client"
    MEMORY_EXHAUSTED = "memory_exhausted"
    DESCRIPTORS_EXHAUSTED = "descriptors_exhausted"
    SECRET_UNAVAILABLE = "secret_unavailable"
    INTERNAL_ERROR = "internal_error"
