"""Settings of a test condition, and what every part of the configuration has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ptycho_lib.model_names import NOMINAL, TRAIN

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: immutable, unknown keys forbidden."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class ConditionConfig(Section):
    """One change of the test data, or several at once, evaluated without retraining."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    """Appears in the column `condition`."""
    scan_overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Leave patterns out, evenly, until neighbours overlap by this at most: 1 − distance/diameter of the
    probe; 0 for patterns that do not overlap. Compared are the pixels that both scans resolve."""
    photons_factor: Positive | None = None
    """Multiply the photons per pattern by this and draw Poisson noise anew."""
    photons_per_pattern: Positive | None = None
    """The same, given as the photons of a pattern."""
    probe_defocus_rad: float | None = None
    """Phase curvature added to the probe, rad at the edge of its array; diffraction is simulated anew."""
    probe_file: str | None = None
    """An npz with `probeGuess` for a new simulation from `objectGuess`; relative to the configuration file's folder."""
    position_jitter_px: Positive | None = None
    """Standard deviation of Gaussian errors added to the positions that the evaluation gets."""
    dead_pixel_fraction: Fraction | None = None
    """Share of detector pixels that read zero in every pattern."""
    test_data: str | None = None
    """Another test file with its own object, positions and probe; relative to the configuration file's folder."""

    @model_validator(mode="after")
    def _one_change(self) -> ConditionConfig:
        changes = self.model_dump(exclude={"name"}, exclude_none=True)
        if self.name in (NOMINAL, TRAIN):
            meaning = {NOMINAL: "the unchanged test set", TRAIN: "the training scan"}[self.name]
            raise ValueError(f"the name '{self.name}' is {meaning}; choose another name")
        if not changes:
            known = ", ".join(sorted(set(type(self).model_fields) - {"name"}))
            raise ValueError(f"condition '{self.name}' changes nothing; set one of {known}")
        if self.photons_factor is not None and self.photons_per_pattern is not None:
            raise ValueError(f"condition '{self.name}': give photons_factor or photons_per_pattern")
        return self
