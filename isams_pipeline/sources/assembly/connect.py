"""A school's client at Assembly."""

from __future__ import annotations

from isams_pipeline.sources.assembly.client import AssemblyClient
from isams_pipeline.sources.assembly.lists import ON_DEMAND
from isams_pipeline.sources.assembly.settings import AssemblySettings
from isams_pipeline.sources.shared import ASSEMBLY
from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.http import Credential
from isams_pipeline.storage.state.tokens import TokenVault


def connect(access: Access) -> AssemblyClient:
    """A school's client; raises ConfigurationError or MissingSecret."""
    settings = access.settings.need(AssemblySettings)
    secret = access.secret(settings.secret, source=ASSEMBLY)
    return AssemblyClient(
        settings,
        Credential(secret, access.secret(settings.client_id, source=ASSEMBLY)),
        TokenVault(access.state(), access.school, ASSEMBLY, secret, access.clock),
        school=access.school,
        clock=access.clock,
        exclusive=lambda: access.hold(f"tokens {access.school}"),
        patience=access.patience,
        also=ON_DEMAND if access.settings.partners.photos == ASSEMBLY else (),
    )
