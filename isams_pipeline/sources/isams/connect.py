"""Clients of iSAMS's own APIs: of a Batch key, and of REST."""

from __future__ import annotations

from isams_pipeline.sources.isams.batch import BatchClient
from isams_pipeline.sources.isams.rest import RestClient
from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.http import Credential
from isams_pipeline.storage.state.limits import HourlyLimit


def batch_client(access: Access, key: str) -> BatchClient:
    """A client of one key; raises ConfigurationError or MissingSecret."""
    isams = access.settings.need_isams
    settings = isams.keys[key]
    credential = Credential(
        access.secret(settings.secret, key=key),
        access.secret(settings.client_id, key=key) if settings.client_id else None,
    )
    return BatchClient(
        isams.url,
        credential,
        patience=access.patience,
        # One request at a time, whoever asks.
        take_turns=lambda host: access.hold(f"host {host}"),
        school=access.school,
        key=key,
    )


def rest_client(access: Access, name: str | None) -> RestClient:
    """A REST client: of that name, or the only one. Raises ConfigurationError or MissingSecret."""
    isams = access.settings.need_isams
    name = isams.client_named(name)
    settings = isams.rest[name]
    credential = Credential(access.secret(settings.secret, client=name), access.secret(settings.client_id, client=name))
    limit = settings.requests_per_hour
    hourly = HourlyLimit(access.state(), f"{access.school}/{name}", limit, access.clock) if limit else None
    return RestClient(
        isams.url,
        credential,
        patience=access.patience,
        parallel=settings.parallel,
        spend=hourly.spend if hourly else _free,
        school=access.school,
        client=name,
    )


def _free() -> None:
    """Nobody counts."""
