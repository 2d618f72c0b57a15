"""Base of everything that is written to a file or handed from step to step."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all records: immutable; unknown fields of a later minor version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")
