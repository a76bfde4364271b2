"""A school's connector: looking, inviting, authorising, revoking, purging. For the command line and the sensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from isams_pipeline.errors import MissingSecret, NotAuthorised, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.sources.registry import LISTED, label_of
from isams_pipeline.sources.shared import OLD_REPORTS, REPORTS
from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.authorising import Authorising
from isams_pipeline.sources.shared.connections import Connection, Finding, Moved, Reason, State


@dataclass(frozen=True)
class Purged:
    """What was removed of a school from one source."""

    lists: int
    tables: int
    exports: int
    """Staged copies of exports that were made from the source's data; what a partner has got stays there."""
    reports: int
    """Reconciliations, and the reports that go with the exports."""
    photos: int
    """Photos of pupils, where they came by this source."""
    left: int
    """Half written files of runs that were killed."""


class Connector:
    """One school's connection by one source. `who` is written into the history."""

    def __init__(self, environment: Environment, school: str, source: str, *, who: str, to_purge: bool = False) -> None:
        """`to_purge` is for a source, or a school, that may be in schools.yaml no more."""
        if not to_purge:
            environment.settings.school(school).settings_of(source)
        self._environment = environment
        self.offered: Mapping[str, str] = {}
        """The scopes that the school was found to have authorised when some were chosen, each in words."""
        self.school, self.source, self._who = school, source, who

    @property
    def _authorising(self) -> Authorising:
        return LISTED[self.source].authorising

    @property
    def _access(self) -> Access:
        return self._environment.access(self.school)

    @property
    def _label(self) -> str:
        return label_of(self.source)

    @property
    def current(self) -> Connection | None:
        """As it was last seen."""
        return self._environment.connections.current(self.school, self.source)

    def look(self) -> Moved:
        """Look by calls that read nobody's data, and note what they show."""
        with LISTED[self.source].connect(self._access) as client:
            return self._found(client.look(self.current))

    def _found(self, finding: Finding) -> Moved:
        return self._environment.connections.found(self.school, self.source, finding, who=self._who)

    def invite(self) -> Moved:
        """Send the school an invitation; raises WrongUse where only the school itself can."""
        secret = self._authorising.invite(self._access)
        self._environment.connections.invited(self.school, self.source, who=self._who)
        try:
            return self.look()
        except MissingSecret:
            said = f"when the school has authorised, put its secret into the environment variable {secret}"
            return self._found(Finding(State.AWAITING_CONNECTION, Reason.NOT_AUTHORISED, said=said))

    def take_code(self, code: str) -> Moved:
        """Exchange the code that came with the redirect. Raises WrongToken for another school's, and WrongUse."""
        if self._authorising.take_code is None:
            raise WrongUse(
                f"By {self._label} there is no code",
                school=self.school,
                remedy="Leave out --code: the scopes that the school has authorised are used.",
            )
        return self._found(self._authorising.take_code(self._access, code))

    def choose(self, scopes: Collection[str] | None) -> Moved:
        """Use these of the scopes that the school has authorised; all of them without any.

        Raises NotAuthorised before the school is connected, and WrongUse for scopes that it has not authorised, and
        where the school chooses them itself, in a browser.
        """
        if self._authorising.offered is None:
            raise WrongUse(
                f"By {self._label} the school chooses the scopes",
                school=self.school,
                remedy="Leave out --scopes: the school chooses them in the browser.",
            )
        now = self.look().now
        if now.state.rank < State.CONNECTED.rank:
            raise NotAuthorised(
                f"The school is not connected: {now.words}",
                school=self.school,
                source=self.source,
                remedy=f"`isams-pipeline connector status {self.school}` says what is to be done.",
            )
        self.offered = self._authorising.offered(self._access)
        offered = frozenset(self.offered)
        wanted = frozenset(scopes) if scopes else offered
        missing = sorted(wanted - offered)
        if missing:
            raise WrongUse(
                f"The school has not authorised {', '.join(missing)}",
                school=self.school,
                remedy=f"It has authorised: {', '.join(sorted(offered))}.",
            )
        needed = {name for name, must in LISTED[self.source].scopes.items() if must}
        if needed - wanted:
            raise WrongUse(
                f"Nothing can be delivered without {', '.join(sorted(needed - wanted))}",
                school=self.school,
                remedy="Ask the school to authorise these scopes, and include them in --scopes.",
            )
        self._environment.connections.choose(self.school, self.source, wanted, who=self._who)
        return self.look()

    def revoke(self) -> Moved:
        """Take the app's authorisation back: nothing is read any more from now on. Waits for a run that is reading."""
        environment = self._environment
        with environment.locks.hold(f"school {self.school}", wait=environment.lock_wait):
            if not self._authorising.in_a_browser:
                environment.connections.choose(self.school, self.source, None, who=self._who)
            self._authorising.forget(self._access)
            return self.look()

    def sync(self) -> None:
        """Have the source fetch the school's data now; raises SyncPending, or WrongUse where it cannot be asked to."""
        if self._authorising.fetch is None:
            raise WrongUse(
                f"{self._label} cannot be asked to fetch", school=self.school, remedy="Its jobs run by themselves."
            )
        self._authorising.fetch(self._access)

    def purge(self) -> Purged:
        """Remove what is kept of the school from this source. Raises WrongUse while the app is authorised."""
        now = self.current
        if now is not None and now.state is State.AUTHORISED:
            raise WrongUse(
                f"{label_of(self.source)} is still authorised, so the next night would bring everything back",
                school=self.school,
                remedy=f"First run `isams-pipeline connector revoke {self.school} --source {self.source}`.",
            )
        environment = self._environment
        with environment.locks.hold(f"school {self.school}", wait=environment.lock_wait):
            # By what is there, not by what schools.yaml says today: a partner may have been removed from it.
            left = environment.sweep(self.school)
            exports = reports = 0
            for staged in environment.staged_of(self.school):
                files, nights = staged.forget(self.source)
                exports += files
                reports += sum(
                    environment.reports.remove_tree(f"{staged.partner}/{self.school}/{night}") for night in nights
                )
            return Purged(
                environment.lists.forget(self.source, self.school),
                environment.tables.forget(self.source, self.school)
                + environment.tables.forget_made_from(self.source, self.school),
                exports,
                reports + sum(environment.reports.remove_tree(f"{of}/{self.school}") for of in (REPORTS, OLD_REPORTS)),
                environment.photos(self.school).forget(self.source),
                left,
            )
