"""``python -m meshbdd`` is the command ``meshbdd``."""

from meshbdd.start import main

if __name__ == "__main__":
    main()
