"""Who answers for the data, as `[organisation]` of the settings says it."""

from __future__ import annotations

from shared.tables import Table


class OrganisationSettings(Table):
    """What the software cannot know; none of it leaves the home, but for the page that a person asks for.

    Attributes
    ----------
    name, contact
        Of the controller (GDPR Art. 30(1)(a)).
    data_protection_officer
        How to reach them.
    joint_controllers
        Their names and contacts, if any.
    purpose
        Of the processing (Art. 30(1)(b)), such as the title of the study.
    legal_basis
        As the organisation has determined it.
    retention
        Until when the data are kept (Art. 30(1)(f)).
    third_countries
        To which data are transferred and on what ground (Art. 30(1)(e)); "none" if to none.
    """

    name: str = ""
    contact: str = ""
    data_protection_officer: str = ""
    joint_controllers: str = ""
    purpose: str = ""
    legal_basis: str = ""
    retention: str = ""
    third_countries: str = ""

    def open_points(self) -> list[str]:
        """The settings that are still empty and that a record of processing needs."""
        optional = {"joint_controllers"}
        return [name for name, value in self if not value and name not in optional]
