"""Base class of all recipe types."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable pydantic model for which an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def replace(self, **changes: Any) -> Any:
        """A validated copy with some fields changed. Raises pydantic's ValidationError, which names the field."""
        return type(self).model_validate({**{name: getattr(self, name) for name in type(self).model_fields}, **changes})
