"""The kit of our HTML pages: a page that opens without a network and needs no script; its tables, charts, pictures.

`page.Page` holds sections, a `Section` holds parts, and each kind of part has a template of its own.
"""
