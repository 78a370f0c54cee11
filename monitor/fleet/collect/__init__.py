"""The collector: the records of many monitors, from a broker into PostgreSQL."""
