"""`python -m toolbox.cli`: what `./grandstand` hands over to."""

from toolbox.cli.app import main

if __name__ == "__main__":
    main()
