"""How good are the colors? `scores` compares pictures, `metrics` are watched in training, `baselines` need no model,
`results` keeps a row a run and makes the tables, `claims` tests what the five systems said."""
