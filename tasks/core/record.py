"""Base class of everything that is written to a file or passed between steps."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base class of all records: immutable; unknown fields, of a later minor version, are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")
