"""The command line: `isthmus`. One file a group of commands; what a command says of itself is its docstring."""
