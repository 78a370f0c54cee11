"""The engines of an archive: what runs its workers, on one machine or on several."""
