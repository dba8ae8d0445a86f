"""An issuer of service account tokens, who also makes those that nobody should accept."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "egress-gateway"

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class TokenIssuer:
    """Signs with the newest of its keys, which are called `k1`, `k2`, ..."""

    def __init__(self) -> None:
        self.keys: dict[str, SigningKey] = {}
        self.rotate()

    def rotate(self, key: SigningKey | None = None) -> str:
        """Another key beside those before; its name."""
        name = f"k{len(self.keys) + 1}"
        self.keys[name] = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.newest = name
        return name

    def key_set(self, *without: str) -> bytes:
        """As the API server publishes it."""
        keys = [_public(name, key) for name, key in self.keys.items() if name not in without]
        return json.dumps({"keys": keys}).encode()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Of a bound token; a claim changed to None is left out."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": [AUDIENCE],
            "sub": "system:serviceaccount:payments:api",
            "iat": now - 10,
            "nbf": now - 10,
            "exp": now + 3600,
            "kubernetes.io": {
                "namespace": "payments",
                "serviceaccount": {"name": "api", "uid": "u1"},
                "pod": {"name": "api-1", "uid": "u2"},
            },
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        key: str | None = None,
        algorithm: str | None = None,
        headers: dict[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        """Signed; `headers` go over its own."""
        name = key or self.newest
        signing = self.keys[name]
        used = algorithm or ("RS256" if isinstance(signing, rsa.RSAPrivateKey) else "ES256")
        return jwt.encode(self.claims(**changed), signing, used, headers={"kid": name, **(headers or {})})

    def unsigned(self) -> str:
        """`alg: none` (RFC 8725 section 2.1)."""
        return f"{self._raw({'alg': 'none', 'typ': 'JWT', 'kid': self.newest})}."

    def by_public_key(self) -> str:
        """HS256 with the public key, which everybody has, as the secret."""
        name = next(name for name, key in self.keys.items() if isinstance(key, rsa.RSAPrivateKey))
        secret = (
            self.keys[name]
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        content = self._raw({"alg": "HS256", "typ": "JWT", "kid": name})
        return f"{content}.{_encoded(hmac.digest(secret, content.encode(), hashlib.sha256))}"

    def _raw(self, header: dict[str, Any]) -> str:
        return ".".join(_encoded(json.dumps(part).encode()) for part in (header, self.claims()))


def tampered(token: str) -> str:
    """The same claims but for the account, under the former signature."""
    header, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["sub"] = "system:serviceaccount:payments:admin"
    return f"{header}.{_encoded(json.dumps(claims).encode())}.{signature}"


def _public(name: str, key: SigningKey) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        told = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        return {**told, "kid": name, "use": "sig", "alg": "RS256"}
    told = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**told, "kid": name, "use": "sig", "alg": "ES256"}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
