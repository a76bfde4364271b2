"""SchoolsBuddy's photos as an asset, and what of them comes to an export."""

from collections.abc import Sequence

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.delivery.built import Built
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.graph import keys_of, used_for
from isams_pipeline.orchestration.partitions import nights_of
from isams_pipeline.orchestration.partner import Behind
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.partners.schoolsbuddy.photos import look, with_photos
from isams_pipeline.partners.schoolsbuddy.settings import KEY, SchoolsBuddySettings
from isams_pipeline.sources.registry import SOURCES

FRESH = {
    "fresh": "The source was asked for new photos, and all of them can be read. Otherwise the earlier photos stay."
}
"""Not blocking."""
PHOTOS_KEY = [KEY, "photos"]


def photo_keys(settings: Settings) -> Sequence[dg.AssetKey]:
    """The asset of photos; it is there if a school has them delivered."""
    wanted = any(school.partners.photos for school in settings.schools.values())
    return (dg.AssetKey(PHOTOS_KEY),) if wanted else ()


def photos_besides(behind: Behind, settings: SchoolsBuddySettings, built: Built) -> Built:
    """An export with the photos that are kept, where the school has them delivered."""
    if settings.photos is None:
        return built
    return with_photos(built, behind.environment.photos(behind.night.school), behind.night.date)


def forget(environment: Environment, school: str, settings: SchoolsBuddySettings) -> None:
    """Photos that a school does not have delivered any more are not kept."""
    if settings.photos is None:
        environment.photos(school).forget()


def photo_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The asset of photos, where a school has them delivered."""
    if not photo_keys(settings):
        return []

    @dg.asset(
        key=PHOTOS_KEY,
        description="Students' photos: those that have changed are fetched, made small and stripped of all but the "
        "picture. By today's partition only; no picture is shown here.",
        partitions_def=nights_of(settings),
        group_name=KEY,
        owners=[OWNER],
        kinds={"jpeg"},
        deps=keys_of(used_for(settings, KEY, dict.fromkeys(SOURCES, ("pupils",)))),
        check_specs=checks.check_specs(PHOTOS_KEY, nights_of(settings), FRESH),
    )
    @of_a_night
    def photos(run: NightRun) -> Results:
        environment, night = run.environment, run.night
        fine = checks.passed(FRESH, PHOTOS_KEY)
        if environment.settings.school(night.school).partners.photos is None:
            yield dg.MaterializeResult(metadata={"photos": "not asked for by this school"}, check_results=fine)
            return
        done = look(environment, night)
        if done is None:
            said = {"photos": "not looked for: the source only knows today's"}
            yield dg.MaterializeResult(metadata=said, check_results=fine)
            return
        told = done.problem and f"photos: the earlier photos are delivered: {done.problem}"
        if told is None and done.failed:
            told = f"photos: {done.failed} could not be fetched; the next night asks again"
        if told is None and done.unreadable:
            told = f"photos: the photos of students {', '.join(done.unreadable)} cannot be read as pictures; left out"
        if told is not None:
            run.log.warning("%s", told)
            fine = [checks.failed("fresh", PHOTOS_KEY, told, warn=True)]
        yield dg.MaterializeResult(
            check_results=fine,
            metadata={
                "photos": done.photos,
                "fetched": done.fetched,
                "cannot be read": len(done.unreadable),
                "failed": done.failed,
                "gone": done.gone,
            },
        )

    return [photos]
