"""The routes, a file for each family. What they do lies beside this folder."""
