"""The state database: what was delivered, and who may deliver now. SQLite under data/, or Postgres."""

from isams_pipeline.storage.state.database import StateDatabase, claimed, insert_into
from isams_pipeline.storage.state.models import Base, Delivery, Lease

__all__ = ["Base", "Delivery", "Lease", "StateDatabase", "claimed", "insert_into"]
