"""A person's word on what a round found: a table to edit, what the edited table says, and what becomes of it."""
