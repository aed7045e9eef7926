"""The colorizer that ships: vivid.keras, and vivid.json (how it was trained and what it scores)."""
