"""Who may call what: the one table, and the door that goes by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from isthmus.gateway.keys import KeyRing, Role, parse_keys
from isthmus.runtime.base.context import Caller
from isthmus.runtime.base.errors import PermissionDeniedError, UnauthenticatedError
from isthmus.runtime.base.reload import Reloaded
from isthmus.runtime.rpc import metadata

__all__ = ["ACCESS", "KeyedDoor"]

_GATEWAY: Final = "/isthmus.v1.GatewayService"
_HEALTH: Final = "/grpc.health.v1.Health"

ACCESS: Final[Mapping[str, Role | None]] = MappingProxyType(
    {
        f"{_GATEWAY}/Embed": Role.READER,
        f"{_GATEWAY}/SearchItems": Role.READER,
        f"{_GATEWAY}/BatchSearchItems": Role.READER,
        f"{_GATEWAY}/GetItems": Role.READER,
        f"{_GATEWAY}/GetCollection": Role.READER,
        f"{_GATEWAY}/ListCollections": Role.READER,
        f"{_GATEWAY}/ListAliases": Role.READER,
        f"{_GATEWAY}/ListAligners": Role.READER,
        f"{_GATEWAY}/GetAligner": Role.READER,
        f"{_GATEWAY}/ListPromotions": Role.READER,
        f"{_GATEWAY}/GetShadowReport": Role.READER,
        f"{_GATEWAY}/Evaluate": Role.READER,
        f"{_GATEWAY}/MeasureGap": Role.READER,
        f"{_GATEWAY}/MatchPairs": Role.READER,
        f"{_GATEWAY}/AuditPairs": Role.READER,
        f"{_GATEWAY}/GetWatch": Role.READER,
        f"{_GATEWAY}/ListProposals": Role.READER,
        f"{_GATEWAY}/ProposeLinks": Role.READER,
        f"{_GATEWAY}/GetStatus": Role.READER,
        f"{_GATEWAY}/UpsertItems": Role.WRITER,
        f"{_GATEWAY}/DeleteItems": Role.WRITER,
        f"{_GATEWAY}/EraseItems": Role.ADMIN,
        f"{_GATEWAY}/ImportFiles": Role.ADMIN,
        f"{_GATEWAY}/CreateCollection": Role.ADMIN,
        f"{_GATEWAY}/DeleteCollection": Role.ADMIN,
        f"{_GATEWAY}/BackupCollection": Role.ADMIN,
        f"{_GATEWAY}/RestoreCollection": Role.ADMIN,
        f"{_GATEWAY}/SetAlias": Role.ADMIN,
        f"{_GATEWAY}/DeleteAlias": Role.ADMIN,
        f"{_GATEWAY}/VerifyAligner": Role.WRITER,
        f"{_GATEWAY}/CompareAligners": Role.WRITER,
        f"{_GATEWAY}/FitAligner": Role.WRITER,
        f"{_GATEWAY}/ImportAligner": Role.ADMIN,
        f"{_GATEWAY}/DismissProposal": Role.ADMIN,
        f"{_GATEWAY}/PromoteAligner": Role.ADMIN,
        f"{_GATEWAY}/RollbackAligner": Role.ADMIN,
        f"{_GATEWAY}/SetShadowAligner": Role.ADMIN,
        # Probes have no key, and learn only that the gateway serves.
        f"{_HEALTH}/Check": None,
        f"{_HEALTH}/List": None,
        f"{_HEALTH}/Watch": None,
    }
)
"""The least role each method needs; None needs no key. A method without a row is refused to everybody."""

_SCHEME: Final = "bearer "
_SETTING: Final = "keys_file"


class KeyedDoor:
    """Lets in whoever shows a key of the file, as far as its role goes.

    Args:
        keys_file: The keys; followed while the gateway runs.

    Raises:
        UnusableFileError: the file cannot be used as it is now.
    """

    def __init__(self, keys_file: Path) -> None:
        self._keys: Reloaded[KeyRing] = Reloaded(
            "keys", {_SETTING: keys_file}, lambda contents: parse_keys(contents[_SETTING], setting=_SETTING)
        )

    def admit(self, method: str, offered: Mapping[str, str]) -> Caller:
        """Return the tenant and the role of a call's key.

        Raises:
            UnauthenticatedError: KEY_REQUIRED, KEY_UNKNOWN, KEY_EXPIRED.
            PermissionDeniedError: ROLE_NOT_ALLOWED.
        """
        authorization = offered.get(metadata.AUTHORIZATION, "")
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            msg = "an API key is required: authorization: Bearer KEY"
            raise UnauthenticatedError(msg, reason="KEY_REQUIRED")
        key = self._keys.value.find(authorization[len(_SCHEME) :].strip())
        least = ACCESS.get(method)
        if least is None or key.role < least:
            needed = "" if least is None else least.name.lower()
            role = key.role.name.lower()
            msg = f"the API key's role is {role}; the call needs {needed or 'a role that nobody has'}"
            raise PermissionDeniedError(msg, reason="ROLE_NOT_ALLOWED", metadata={"role": role, "needed": needed})
        return Caller(tenant=key.tenant, role=key.role.name.lower())

    async def watch(self) -> None:
        """Follow the file until cancelled."""
        await self._keys.watch()
