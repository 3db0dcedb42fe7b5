"""`python -m asrctl`."""

from asrctl.cli.app import main

if __name__ == "__main__":
    main()
