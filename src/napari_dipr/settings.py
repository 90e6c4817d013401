"""Settings that a person chooses: checked as a whole, and told as plain JSON."""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from napari_dipr.errors import MeasurementError, explained


class Settings(BaseModel):
    """Settings of which none is unknown, and no number infinite.

    Attributes
    ----------
    unfit
        What is said before the reason where they do not fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    unfit: ClassVar[str]

    @classmethod
    def of(cls, /, **settings: Any) -> Self:
        """Check settings.

        Raises
        ------
        MeasurementError
            If one is not known, or out of its range.
        """
        with explained(MeasurementError, cls.unfit):
            return cls.model_validate(settings)

    def as_json(self) -> dict[str, Any]:
        """Return the settings that are other than by default, as plain JSON."""
        return self.model_dump(mode="json", exclude_defaults=True)
