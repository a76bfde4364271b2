"""A school's client at Xporter on Demand."""

from __future__ import annotations

from isams_pipeline.sources.shared import XPORTER
from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.xporter.client import XporterClient, XporterSecrets
from isams_pipeline.sources.xporter.lists import ON_DEMAND
from isams_pipeline.sources.xporter.settings import XporterSettings
from isams_pipeline.storage.state.tokens import TokenVault


def connect(access: Access, *, to_manage: bool = False) -> XporterClient:
    """A school's client; raises ConfigurationError or MissingSecret.

    `to_manage` is for finding and inviting, before the school's own secret has come with its authorisation.
    """
    settings = access.settings.need(XporterSettings)
    secret = "" if to_manage else access.secret(settings.secret, source=XPORTER)
    named = settings.management_secret
    return XporterClient(
        settings,
        XporterSecrets(secret, access.secret(named, source=XPORTER) if named else None),
        TokenVault(access.state(), access.school, XPORTER, secret, access.clock),
        school=access.school,
        clock=access.clock,
        patience=access.patience,
        also=ON_DEMAND if access.settings.partners.photos == XPORTER else (),
    )
