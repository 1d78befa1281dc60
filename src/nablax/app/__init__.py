"""The command line: load names a function in a file, report computes, render shows, command_line parses."""
