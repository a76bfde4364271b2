"""My School Portal: change requests that guardians made and the school approved, written back to iSAMS."""

from isams_pipeline.orchestration.partner import Partner
from isams_pipeline.partners.my_school_portal.assets import CONFIRMATION
from isams_pipeline.partners.my_school_portal.desk import waits_for
from isams_pipeline.partners.my_school_portal.ending import ends
from isams_pipeline.partners.my_school_portal.holding import erases, holds
from isams_pipeline.partners.my_school_portal.schedules import more
from isams_pipeline.partners.my_school_portal.settings import MySchoolPortalSettings

PARTNER = Partner(
    MySchoolPortalSettings,
    hour=4,
    night="Whether a night's datasets hold what was written to iSAMS.",
    purpose="guardians ask for changes to their own and their children's records; the school approves them, and they "
    "are written to iSAMS.",
    takes={"isams": ("pupils", "contacts")},
    more=more,
    in_its_night=(CONFIRMATION,),
    waits_for=waits_for,
    holds=holds,
    ends=ends,
    erases=erases,
)
