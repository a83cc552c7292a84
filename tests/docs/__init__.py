"""The pages of docs/: what is generated is up to date, and what they tell one to type works."""
