"""Many monitors and archives: publishing, collecting, rollouts and Parquet."""
