"""`python -m lighter` is the `lighter` command."""

from lighter.cli import main

if __name__ == "__main__":
    main()
