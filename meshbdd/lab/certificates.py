"""The lab's certificate authority: a root, and short-lived leaves that carry a workload's identity."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN = "cluster.local"
LEAF_LIFETIME = dt.timedelta(hours=24)
"""Unless somebody asks for another, on either mesh: istio/istio pilot/cmd/pilot-agent/options/options.go (``SECRET_TTL``),
linkerd2 charts/linkerd-control-plane/values.yaml (``identity.issuer.issuanceLifetime``)."""
ROOT_LIFETIME = dt.timedelta(days=3650)
_BACKDATE = dt.timedelta(minutes=2)


def spiffe_id(namespace: str, service_account: str) -> str:
    """The identity of a workload, as Istio writes it."""
    return f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{service_account}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain with its key, in PEM."""

    chain: bytes
    key: bytes
    not_before: dt.datetime
    not_after: dt.datetime


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class CertificateAuthority:
    """Issues the lab's certificates.

    Args:
        name: Its name, in its root certificate.
        root: An existing root in PEM, to go on with; ``None`` for a new one.
        key: The key of that root in PEM.
    """

    def __init__(self, name: str = "meshbdd lab", *, root: bytes | None = None, key: bytes | None = None) -> None:
        if root is not None and key is not None:
            loaded = serialization.load_pem_private_key(key, None)
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise TypeError("the key of the lab's authority is an elliptic curve key")
            self._key = loaded
            self._certificate = x509.load_pem_x509_certificate(root)
            self._name = self._certificate.subject
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + ROOT_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def root(self) -> bytes:
        """The root certificate in PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key(self) -> bytes:
        """The root's key in PEM."""
        return _pem_key(self._key)

    def issue(
        self,
        names: list[x509.GeneralName],
        *,
        lifetime: dt.timedelta = LEAF_LIFETIME,
        not_before: dt.datetime | None = None,
    ) -> Certificate:
        """Issue a leaf for ``names``.

        Args:
            names: Subject alternative names.
            lifetime: From ``not_before`` (or now) to the end of validity.
            not_before: Start of validity; ``None``: now. A start in the past makes an expired certificate.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        start = not_before or dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meshbdd lab workload")]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start if not_before else start - min(_BACKDATE, lifetime / 100))
            .not_valid_after(start + lifetime)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return Certificate(pem, _pem_key(key), start, start + lifetime)

    def workload(
        self,
        namespace: str,
        service_account: str,
        *,
        lifetime: dt.timedelta = LEAF_LIFETIME,
        not_before: dt.datetime | None = None,
    ) -> Certificate:
        """Issue the certificate of a workload: its SPIFFE id as the one name."""
        identity = x509.UniformResourceIdentifier(spiffe_id(namespace, service_account))
        return self.issue([identity], lifetime=lifetime, not_before=not_before)

    def server(self, address: str) -> Certificate:
        """Issue the certificate of the Kubernetes API at ``address``."""
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(address)),
            x509.DNSName("localhost"),
            x509.DNSName("kubernetes.default.svc"),
        ]
        return self.issue(names, lifetime=ROOT_LIFETIME)
