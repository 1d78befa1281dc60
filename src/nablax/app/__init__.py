"""The command line: load names a function in a file, report computes, render shows, linesearch compares searches,
command_line parses.
"""
