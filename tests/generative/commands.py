"""What tests of the command lines share."""

PNG = b"\x89PNG\r\n\x1a\n"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def explains(main, capsys, arguments, *words):
    """The command ends with 2 and says what was wrong, without a traceback."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words) and "Traceback" not in error, error
