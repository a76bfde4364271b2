"""PupilManager: the people around the pupils."""

from __future__ import annotations

from isams_pipeline.datasets.declare import Dataset, column


class Contacts(Dataset):
    """Parents, guardians and others linked to pupils.

    One row per contact entry: a person may have several, and joint entries may share a number.
    """

    feed = "contacts"
    rows = "PupilManager/Contacts/Contact"
    must_have_rows = True
    identity = ("person_id", "surname")

    entry_id: int = column("@Id", "iSAMS's number of the entry", key=True)
    person_id: int = column("@PersonId", "iSAMS's number of the person", key=True)
    first_person: bool | None = column("@IsFirstPersonContact", "The first of the people of a joint entry")
    relationship: str | None = column("RelationshipRaw", "Mother, Father, Guardian …; free text", personal=True)
    title: str | None = column("Title", "Title", personal=True)
    forename: str | None = column("Forename", "Forename", personal=True)
    middle_names: str | None = column("MiddleNames", "Middle names", personal=True)
    surname: str | None = column("Surname", "Surname", personal=True)
    email: str | None = column("EmailAddress", "E-mail; may hold several addresses", personal=True)
    telephone: str | None = column("Telephone", "Telephone", personal=True)
    mobile: str | None = column("Mobile", "Mobile number", personal=True)
    profession: str | None = column("Profession", "Profession", personal=True)
    address_1: str | None = column("Address/AddressLines/Address1", "Address, first line", personal=True)
    address_2: str | None = column("Address/AddressLines/Address2", "Address, second line (inferred)", personal=True)
    address_3: str | None = column("Address/AddressLines/Address3", "Address, third line (inferred)", personal=True)
    town: str | None = column("Address/Town", "Town", personal=True)
    county: str | None = column("Address/County", "County (inferred)", personal=True)
    postcode: str | None = column("Address/Postcode", "Postcode", personal=True)
    country: str | None = column("Address/Country", "Country", personal=True)
    mail_merge_all: bool | None = column("MailMergeAll", "Ticked for All Merges")
    mail_merge_correspondence: bool | None = column("CorrespondenceMailMerge", "Ticked for Correspondence")
    contact_only: bool | None = column(
        "ContactOnly|@ContactOnly", "Ticked as Contact Only: not for any communication (element name inferred)"
    )
    just_contact: bool | None = column("JustContact|@JustContact", "The same by the database's name (inferred)")
    deceased: bool | None = column("Deceased|@Deceased", "Has died (inferred; REST has it)", personal=True)
    parental_responsibility: str | None = column(
        "ParentalResponsibility",
        "Yes, No, or Default: as its contact type says (element name inferred)",
        personal=True,
    )


class ContactPupils(Dataset):
    """Which contact entry belongs to which pupil. One row per contact entry and pupil."""

    feed = "contacts"
    rows = "PupilManager/Contacts/Contact/Pupils/Pupil"
    identity = ("pupil_id", "school_id")

    entry_id: int = column("../../@Id", "The contact entry", key=True)
    person_id: int = column("../../@PersonId", "The contact's person", key=True)
    pupil_id: int = column("@Id", "The pupil", key=True)
    school_id: str | None = column("SchoolId", "The pupil's school code")
    status: str | None = column("Status", "The pupil is Current, Applicant, Former …", personal=True)
