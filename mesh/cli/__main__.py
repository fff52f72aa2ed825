"""`python -m mesh.cli`: what `./grandstand` hands over to."""

from mesh.cli.app import main

if __name__ == "__main__":
    main()
