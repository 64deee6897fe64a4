"""The page for readers: claims, figures and tables as static HTML, made of the rows under a folder alone: `presyn report`.

`stage` gathers, `content` shapes what the templates show, `draw` draws the small pictures in it, `crate` describes the files
as a Research Object; `page.html` and `runs.html` are the templates.
"""
