"""Archives: recordings of any number, analysed into a folder of Parquet files."""
