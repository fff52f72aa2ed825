"""The command line, `./grandstand COMMAND`: one module for each noun; `app` brings them together."""
