"""Write the sources of the documentation site: what is in `docs/`, and what is made from the code.

    repository            __main__.py            site/pages            zensical, by mkdocs.yml     site/html
    docs/, README, ...  ──pages.py────────────▶  the same, links changed
    examples/           ──pages.py────────────▶  a page for each
    sections, classes   ──configuration.py────▶  reference-config.md
    commands            ──commands.py─────────▶  reference-commands.md
    public names        ──api.py──────────────▶  reference-python.md
    all of these        ──llms.py─────────────▶  llms.txt, text/*.txt

All pages are in one folder. `make docs` runs it; nothing that it writes is committed.
"""
