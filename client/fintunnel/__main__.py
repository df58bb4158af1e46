"""`python -m fintunnel …` is the same as `fintunnel …`."""

from fintunnel.cli import main

if __name__ == "__main__":
    main()
