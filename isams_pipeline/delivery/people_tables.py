"""The tables of contacts on their way to whichever partner gets them."""

from __future__ import annotations

from isams_pipeline.datasets import DATASETS
from isams_pipeline.delivery.rule_tables import RuleTable, made, renamed, rule_table, same

PUPILS, CONTACTS, LINKS = (DATASETS[name] for name in ("pupils", "contacts", "contact_pupils"))
_MEMBERS, _TEACHERS = DATASETS["set_members"], DATASETS["set_teachers"]
_CHOSEN_BY = ("deceased", "contact_only", "contact_type", "mail_merge", "parental_responsibility")
_SETTINGS = ("contact_types", "mail_merge", "contact_only", "parental_responsibility", "contact_years")
_ADDRESS = ("address_1", "address_2", "address_3", "town", "county", "postcode", "country")

ELIGIBLE_CONTACTS = rule_table(
    "eligible_contacts",
    "Contact entries that the school sends: of a wanted contact type, ticked for a wanted mail merge, not marked "
    "Contact Only or deceased, with a student in the wanted years. One row per entry kept.",
    same(CONTACTS, *CONTACTS.names, key=("entry_id", "person_id")),
    also=(LINKS, PUPILS),
    steered_by=_SETTINGS,
    left_out={"contacts": (*_CHOSEN_BY, "contact_years", "no_student")},
)


def contacts_table(*, unique: bool) -> RuleTable:
    """The contacts of a partner; `unique`: where everybody needs an e-mail address of their own."""
    each = "each with an e-mail address of their own" if unique else "with the first valid e-mail address of theirs"
    return rule_table(
        "contacts",
        f"Contacts as the partner gets them: the eligible entries of a person together, {each}. One row per person.",
        renamed("contact_id", ELIGIBLE_CONTACTS, "person_id", key=True),
        same(ELIGIBLE_CONTACTS, "title", "forename", "surname"),
        same(ELIGIBLE_CONTACTS, "email", filled=("email",) if unique else ()),
        same(ELIGIBLE_CONTACTS, "telephone", "mobile", *_ADDRESS),
        left_out={"contacts": ("email", "unique_email", "same_person") if unique else ()},
        merges=("contacts",),
    )


def student_contacts_table(contacts: RuleTable) -> RuleTable:
    """Who is whose contact."""
    is_unique = bool(contacts.left_out["contacts"])
    return rule_table(
        "student_contacts",
        "Which contact is whose. Of several entries for one student, the first person's counts. One row per student "
        "and contact.",
        renamed("student_id", LINKS, "pupil_id", key=True),
        made("contact_id", "int", "The contact", (contacts, "contact_id"), (LINKS, "person_id"), key=True),
        same(ELIGIBLE_CONTACTS, "relationship", "parental_responsibility"),
        renamed("first_contact", ELIGIBLE_CONTACTS, "first_person", filled=True),
        also=(PUPILS,),
        steered_by=_SETTINGS,
        left_out={
            "contact_pupils": (
                *("reference", *_CHOSEN_BY, "contact_years"),
                *(("email", "unique_email") if is_unique else ()),
            )
        },
        merges=("contact_pupils",),
    )


def members_table(name: str, groups: RuleTable, key: str, what: str) -> RuleTable:
    """Who is in which set; `key` is the sets' number in the partner's words, `what` one of them in words."""
    return rule_table(
        name,
        f"Who is in which {what}, each once, both of whom are in the export. One row per {what} and student.",
        made(key, "int", f"The {what}", (groups, key), (_MEMBERS, "set_id"), key=True),
        made(
            "student_id",
            "int",
            "The student",
            *((PUPILS, "pupil_id"), (_MEMBERS, "pupil_id"), (_MEMBERS, "school_id")),
            key=True,
        ),
        left_out={_MEMBERS.name: ("reference",)},
        merges=(_MEMBERS.name,),
    )


def teachers_table(name: str, groups: RuleTable, key: str, what: str, *, staff: RuleTable, primary: bool) -> RuleTable:
    """Who teaches which set; `primary`: with who is its main teacher."""
    main = made("primary", "bool", f"The {what}'s main teacher", (_TEACHERS, "primary"), nullable=False)
    return rule_table(
        name,
        f"Who teaches which {what}, each once, both of whom are in the export. One row per {what} and member of staff.",
        made(key, "int", f"The {what}", (groups, key), (_TEACHERS, "set_id"), key=True),
        made("staff_id", "int", "Who teaches it", (staff, "staff_id"), (_TEACHERS, "staff_id"), key=True),
        main if primary else [],
        left_out={_TEACHERS.name: ("reference",)},
        merges=(_TEACHERS.name,),
    )
