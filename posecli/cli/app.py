"""The root of the command line, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import posecli
from posecli.cli import (
    annotate,
    batch,
    bench,
    console,
    doctor,
    evaluate,
    info,
    lift,
    options,
    render,
    synth,
    train,
    weights,
)
from posecli.errors import EXIT_INTERRUPTED, DeviceError, PoseCliError, VideoError, printable

# Typer reflows paragraphs; a line with \b keeps the next one as it stands.
_EPILOG = """\b
Exit codes:
  0    done
  1    failed
  2    an option or a config value is wrong
  3    finished, with warnings (for example corrupt frames); of a batch: some videos failed
  4    weights unknown, missing, damaged, or not reachable offline
  5    an input cannot be read
  6    a device or backend is not available, or memory ran out
  7    an output exists already or cannot be written
  130  interrupted

\b
Environment:
  POSECLI_HOME          where fetched weights are kept
  POSECLI_OFFLINE       open no connection, as --offline
  POSECLI_QUIET         say less, as --quiet
  POSECLI_SCAN_BACKEND  the selective scan to use, see posecli doctor
  NO_COLOR, CI          no progress line
"""


class ErrorBoundary(TyperGroup):
    """Turns the errors of `posecli.errors`, and memory that ran out, into one line and an exit code.

    Any other exception is a bug and keeps its traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except PoseCliError as error:
            console.error(error.message, error.hint)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            # hundreds of places look at a path that the user gave, and this one fails at the first look
            console.error(printable(f"{error.filename}: no file can have so long a name"))
            raise typer.Exit(VideoError.exit_code) from error
        except KeyboardInterrupt as error:
            console.error("interrupted")
            raise typer.Exit(EXIT_INTERRUPTED) from error
        except Exception as error:
            if not _ran_out_of_memory(error):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            console.error(f"memory ran out: {printable(reason[:200])}", "close other programs, or use smaller weights")
            raise typer.Exit(DeviceError.exit_code) from error


def _ran_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; nothing is imported for the question, there may be no memory for that."""
    judge = sys.modules.get("posecli.out_of_memory")
    return isinstance(error, MemoryError) or (judge is not None and judge.is_out_of_memory(error))


app = typer.Typer(
    name="posecli",
    cls=ErrorBoundary,
    help="Turn video of people into pose annotations.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: half the start-up time, and the same text in a pipe
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        console.print_data(f"posecli {posecli.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Turn video of people into pose annotations."""


app.command("annotate")(annotate.annotate)
app.command("batch")(batch.batch)
app.command("info")(info.info)
app.command("render")(render.render)
app.command("lift")(lift.lift)
app.add_typer(weights.app, name="weights")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(synth.app, name="synth")
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line; what the ``posecli`` script calls."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names hold what terminals cannot show
    app(prog_name="posecli")
