"""``python -m posecli``."""

from posecli.cli.app import main

if __name__ == "__main__":
    main()
