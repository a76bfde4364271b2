"""What a school may agree with My School Portal."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from isams_pipeline.config.partners import PartnerSettings, RestUse
from isams_pipeline.config.values import Variable

KEY = "my_school_portal"
"""Its name in schools.yaml, in keys of assets, and on the command line."""


class MySchoolPortalSettings(PartnerSettings):
    """How a school lets My School Portal's change requests into iSAMS."""

    label: ClassVar[str] = "My School Portal"
    key: ClassVar[str] = KEY
    required_feeds: ClassVar[tuple[str, ...]] = ("pupils", "contacts")

    client: str | None = None
    """Which of `isams.rest`; can be left out where there is one."""
    writeback: Literal["enabled", "disabled"] = "disabled"
    """Without it, every apply is a dry run."""
    guardian_route: Literal["tempcontacts"] | None = None
    """Where guardians' changes are written; without one they are not."""
    trust_portal_approval: bool = False
    """An approval that comes with the request counts, if it says what its approver saw."""
    approval_secret: Variable | None = None
    """The name of the secret that the portal signs approvals with; with one, only signed approvals count."""
    phone_region: str = Field(default="GB", pattern=r"^[A-Z]{2}$")
    """The country, as two letters, of telephone numbers without a country code."""

    @property
    def secrets(self) -> set[str | None]:
        """The names of the secrets that the partner needs by itself."""
        return {self.approval_secret}

    @property
    def rest_uses(self) -> tuple[RestUse, ...]:
        """Writing."""
        reads = ("Pupil Manager (STUDENTMANAGEMENT)",)
        return (RestUse(self.key, self.client, f"{self.key}.client", reads, writes=True),)
