"""A person's review of a round: a table to edit, the decisions in the edited table, and their effect."""
