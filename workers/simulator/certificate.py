"""A self-signed certificate for a virtual camera that speaks RTSPS."""

import ipaddress
import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = timedelta(days=365)


def make_certificate(hosts: Sequence[str], certificate: Path, key: Path) -> None:
    """Write a certificate for these names and addresses, and its key, which only the owner may read.

    Raises:
        OSError: a file exists already or cannot be written.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Virtual camera")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    unencrypted = serialization.NoEncryption()
    private_form = serialization.PrivateFormat.PKCS8
    _write(key, private.private_bytes(serialization.Encoding.PEM, private_form, unencrypted), 0o600)
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM), 0o644)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what the server side of TLS needs.

    Raises:
        OSError: a file is missing, or the two do not fit together (`ssl.SSLError`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
