"""What a school may agree with partners: what all of them have in common, and the settings of those there are.

A partner's own settings stand in its folder below `partners/`: a class with a `key` is known from when it is made, and
`partners/registry.py` makes all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from pydantic import Field, RootModel, SerializeAsAny, model_validator

from isams_pipeline.config.known import each_by_its_own, register
from isams_pipeline.config.sources import SourceName
from isams_pipeline.config.values import AList, AllOrTexts, AllOrYears, Share, StrictSettings, Target, Variable
from isams_pipeline.moved import found_elsewhere
from isams_pipeline.rules.contacts import ParentalResponsibility

MailMerge = Literal["all", "correspondence"]


class RestUse(NamedTuple):
    """What a partner uses one of a school's REST clients for."""

    user: str
    """The partner, or a part of it: `schoolsbuddy.photos`."""
    client: str | None
    """Which of `isams.rest`; None: the only one."""
    setting: str
    """Where that is said, below `partners`."""
    modules: tuple[str, ...]
    """The modules of iSAMS that the client has to be allowed to read."""
    writes: bool = False


class PartnerSettings(StrictSettings):
    """What a school has agreed with a partner."""

    ruled: ClassVar[tuple[str, ...]] = ()
    """The settings that rules and the gate read, besides those of the classes that it is made from."""
    label: ClassVar[str]
    """The partner's name."""
    key: ClassVar[str]
    """Its name under `partners`."""
    required_feeds: ClassVar[tuple[str, ...]] = ()
    """Feeds without which there is nothing for the partner by iSAMS's own source, or nothing to confirm a write by."""
    guide_feeds: ClassVar[tuple[str, ...]] = ()
    """All that the partner's guide asks for, what it calls optional left out."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        if "key" in vars(cls):
            register(KNOWN, cls.key, cls)

    @classmethod
    def read_by_rules(cls) -> frozenset[str]:
        """The settings that rules and the gate read: what `what-if` tries without storing anything."""
        return frozenset(name for one in cls.__mro__ for name in vars(one).get("ruled", ()))

    @property
    def uses(self) -> SourceName:
        """The source by which the school's data comes for the partner."""
        return "isams"

    @property
    def secrets(self) -> set[str | None]:
        """The names of the secrets that the partner needs by itself."""
        return set()

    @property
    def rest_uses(self) -> tuple[RestUse, ...]:
        """What REST clients are used for."""
        return ()

    @property
    def photos_by(self) -> str | None:
        """Where students' photos come from, if the partner gets them."""
        return None

    def lacks(self, has_feed: Callable[[str], bool]) -> str | None:
        """What the settings ask for that no key of the school brings, in words; only by iSAMS's own source."""
        missing = [feed for feed in self.required_feeds if not has_feed(feed)]
        return (
            f"{self.key} needs the feeds {', '.join(missing)}; name them under a key in isams.keys" if missing else None
        )


KNOWN: dict[str, type[PartnerSettings]] = {}
"""The settings of all partners, by their names under `partners`."""
P = TypeVar("P", bound=PartnerSettings)


class Delivering(PartnerSettings):
    """Where a partner's files go, and how much less of them may come than before."""

    ruled: ClassVar[tuple[str, ...]] = ("max_removed",)

    max_removed: Share = 0.2
    deliver_to: Target = "data/exports"
    """A path or URL; a relative path is relative to schools.yaml."""
    deliver_secret: Variable | None = None
    """The name of the secret that holds the password of an sftp:// user. Without one, the user's keys are used."""
    first_delivery: Literal["deliver", "hold"] = "deliver"
    """Whether a school's first export waits until a person has looked at it and released it."""
    list_changes: bool = False
    """Whether a list of what was added, changed and removed lies beside each file."""

    @property
    def secrets(self) -> set[str | None]:
        """The names of the secrets that the partner needs by itself."""
        return {self.deliver_secret}

    @model_validator(mode="after")
    def _password_for_sftp(self) -> Self:
        if self.deliver_secret is not None and not self.deliver_to.startswith("sftp://"):
            raise ValueError("deliver_secret is the password of an sftp:// user; remove it")
        return self


class ContactSettings(PartnerSettings):
    """Which contacts a school sends."""

    ruled: ClassVar[tuple[str, ...]] = (
        *("contact_types", "mail_merge", "contact_years", "parental_responsibility", "contact_only"),
    )

    source: SourceName
    """The source by which the school's data comes."""
    contact_types: AllOrTexts = None
    """Relationships, compared without case; None is all."""
    mail_merge: Annotated[tuple[MailMerge, ...], AList] = ()
    """A contact needs one of these; with an empty list mail merge does not matter."""
    contact_years: AllOrYears = None
    """Contacts of students in these years; None is all."""
    parental_responsibility: ParentalResponsibility = "any"
    contact_only: Literal["leave_out", "send"] = "leave_out"
    """What becomes of contacts that iSAMS marks Contact Only: not for any communication."""

    @property
    def uses(self) -> SourceName:
        """The source by which the school's data comes for the partner."""
        return self.source

    @property
    def sends_contact_only(self) -> bool:
        """The school has written down that they are to be sent."""
        return self.contact_only == "send"

    @model_validator(mode="after")
    def _what_the_source_has(self) -> ContactSettings:
        if self.source != "isams" and self.mail_merge:
            raise ValueError(
                f"only iSAMS's own source knows mail merge; with source: {self.source} write mail_merge: []"
            )
        if self.source != "isams" and self.contact_only != "leave_out":
            raise ValueError(f"only iSAMS's own source knows Contact Only; remove it with source: {self.source}")
        return self


class PartnersSettings(RootModel[dict[str, SerializeAsAny[PartnerSettings]]]):
    """Which partners a school sends data to, or takes it from."""

    root: dict[str, SerializeAsAny[PartnerSettings]] = Field(default_factory=dict[str, PartnerSettings])

    @model_validator(mode="before")
    @classmethod
    def _each_by_its_own(cls, given: object) -> object:
        return each_by_its_own(given, KNOWN, cls.__name__)

    def get(self, kind: type[P]) -> P | None:
        """What the school has agreed with a partner, if anything."""
        found = self.root.get(kind.key)
        return found if isinstance(found, kind) else None

    def whose(self, name: str) -> str | None:
        """The partner whose a delivery is, by what its receipts and paths are called: `schoolsbuddy_attendance am`.

        None where the school has agreed nothing with it.
        """
        first = name.partition(" ")[0]
        parts = (key for key in sorted(self.root, key=len, reverse=True) if first.startswith(f"{key}_"))
        return first if first in self.root else next(parts, None)

    def __contains__(self, key: object) -> bool:
        return key in self.root

    @property
    def exporting(self) -> dict[str, Delivering]:
        """The partners that get files, by name."""
        return {key: settings for key, settings in self.root.items() if isinstance(settings, Delivering)}

    @property
    def sources(self) -> dict[str, SourceName]:
        """By which source each partner's data comes."""
        return {key: settings.uses for key, settings in self.root.items()}

    @property
    def photos(self) -> str | None:
        """Where students' photos come from, if somebody gets them."""
        return next((settings.photos_by for settings in self.root.values() if settings.photos_by), None)

    def using(self, source: str) -> tuple[str, ...]:
        """The partners whose data comes by a source."""
        return tuple(name for name, mine in self.sources.items() if mine == source)

    @property
    def secrets(self) -> set[str | None]:
        """The names of the secrets that partners need by themselves."""
        return {name for settings in self.root.values() for name in settings.secrets}

    @property
    def rest_uses(self) -> tuple[RestUse, ...]:
        """What the school's REST clients are used for."""
        return tuple(use for settings in self.root.values() for use in settings.rest_uses)


if not TYPE_CHECKING:  # who checks types sees what is there

    def __getattr__(name: str) -> object:
        """Names of before, with a warning."""
        return found_elsewhere(__name__, name)
