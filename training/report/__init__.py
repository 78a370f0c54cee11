"""What a run leaves for people: pictures and one HTML page."""
