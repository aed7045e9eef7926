"""The colorizer that ships: vivid.keras, vivid.json (how it was trained and what it scores), and its trainer."""
