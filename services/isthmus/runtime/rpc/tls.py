"""TLS from files that may be replaced while they are in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from isthmus.runtime.base.metrics import CERTIFICATE_EXPIRY
from isthmus.runtime.base.reload import Reloaded, UnusableFileError
from isthmus.runtime.base.transport import Tls

__all__ = ["Pem", "ServerTls", "reloaded_pem"]

_SERVER: Final = "tls"


@dataclass(frozen=True, slots=True, repr=False)
class Pem:
    """The contents of a `Tls`, checked: PEM bytes, None where there is no file."""

    cert: bytes | None
    key: bytes | None
    ca: bytes | None


def reloaded_pem(what: str, files: Tls, *, prefix: str = "", ca_setting: str) -> Reloaded[Pem]:
    """Return the contents of `files`, which follow the files.

    Args:
        what: Names them in logs and metrics.
        files: The files.
        prefix: Of the settings that name the certificate and its key.
        ca_setting: The setting that names the CAs.

    Raises:
        UnusableFileError: a file cannot be read, is no PEM, or the key is not the certificate's.
    """
    cert_setting, key_setting = f"{prefix}tls_cert_file", f"{prefix}tls_key_file"
    named = {cert_setting: files.cert_file, key_setting: files.key_file, ca_setting: files.ca_file}
    paths: dict[str, Path] = {setting: path for setting, path in named.items() if path is not None}

    def parse(contents: Mapping[str, bytes]) -> Pem:
        cert, key, ca = (contents.get(setting) for setting in (cert_setting, key_setting, ca_setting))
        if cert is not None and key is not None:
            leaf = _certificates(cert, setting=cert_setting)[0]
            _check_key(key, leaf, key_setting=key_setting, cert_setting=cert_setting)
            CERTIFICATE_EXPIRY.labels(what).set(leaf.not_valid_after_utc.timestamp())
        if ca is not None:
            _certificates(ca, setting=ca_setting)
        return Pem(cert, key, ca)

    return Reloaded(what, paths, parse)


def _certificates(pem: bytes, *, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        msg = f"{setting} holds no PEM certificate, or a damaged one"
        raise UnusableFileError(msg) from error


def _check_key(pem: bytes, leaf: x509.Certificate, *, key_setting: str, cert_setting: str) -> None:
    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, ValueError) as error:  # TypeError: it is encrypted
        msg = f"{key_setting} holds no PEM private key, or an encrypted or damaged one"
        raise UnusableFileError(msg) from error
    if key.public_key() != leaf.public_key():
        msg = f"{key_setting} is not the key of {cert_setting}"
        raise UnusableFileError(msg)


class ServerTls:
    """A server's side of TLS: every handshake uses the newest good files.

    Args:
        files: Its certificate, key and, for mTLS, the CAs of its callers.

    Raises:
        UnusableFileError: the files cannot be used as they are now.
    """

    def __init__(self, files: Tls) -> None:
        self._pem = reloaded_pem(_SERVER, files, ca_setting="tls_client_ca_file")
        self._used = self._pem.value
        self._with_clients = files.ca_file is not None

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials to listen with: TLS 1.2 and newer, which is gRPC's floor."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._used),
            self._fetch,  # type: ignore[arg-type] # its documentation allows None; its types do not
            require_client_authentication=self._with_clients,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the certificate for the handshake that begins, None when it is the last one's; any thread asks."""
        newest = self._pem.value
        if newest is self._used:
            return None
        self._used = newest
        return _configuration(newest)

    async def watch(self) -> None:
        """Follow the files until cancelled."""
        await self._pem.watch()


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    assert pem.key is not None
    assert pem.cert is not None
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], root_certificates=pem.ca)
