// Command credproxy stands between Redis clients and Redis and keeps Redis inside a memory budget: whole sessions that
// nobody uses leave it once Postgres holds every byte, and come back on first touch.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v2"

	"credproxy/cmd/credproxy/config"
)

// Exit codes, part of the contract.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // of the command line or the configuration
)

// version is set by the linker in releases.
var version string

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// quiet drops what go-redis prints by itself: every failure that it prints it also returns.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	redis.SetLogger(quiet{})
	err := newApp(stdout, stderr).Run(args)
	var problems config.Problems
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &problems):
		fmt.Fprintln(stderr, problems) // each line names its file already
		return exitUsage
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "credproxy: %v\nTry: credproxy help\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "credproxy: %s\n", oneLine(err))
		return exitFailure
	}
}

// oneLine renders an error on one line: pgx puts every address and every TLS mode that it has tried on a line of its own.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

// usageError is a command line that makes no sense.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                 "credproxy",
		Usage:                "a Redis proxy that keeps Redis inside a memory budget by moving idle sessions to Postgres",
		HideVersion:          true,
		Writer:               stdout,
		ErrWriter:            stderr,
		ExitErrHandler:       func(*cli.Context, error) {}, // run decides; the library would exit by itself
		Action:               noCommand,
		EnableBashCompletion: true, // for all shells: what completionCommand prints asks for it
		Commands: append([]*cli.Command{
			runCommand(), devCommand(), checkCommand(), healthCommand(), signCommand(), versionCommand(), completionCommand(), simulateCommand(), recordCommand(),
		}, adminCommands()...),
	}
	app.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usageError{err.Error()} }
	for _, c := range app.Commands {
		c.OnUsageError = app.OnUsageError
		if c.BashComplete == nil {
			c.BashComplete = completeOptions
		}
	}
	return app
}

// noCommand runs when the first word is not a command.
func noCommand(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("unknown command %q", c.Args().First())
	}
	_ = cli.ShowAppHelp(c)
	return usagef("no command given")
}

// noArguments refuses words behind a command that takes none: a forgotten "--" must not be ignored.
func noArguments(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("%s takes no argument %q", c.Command.Name, c.Args().First())
	}
	return nil
}

// jsonFlag is what programs give to every command that prints something.
func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print JSON, for programs"} }

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:   "version",
		Usage:  "print the version",
		Flags:  []cli.Flag{jsonFlag()},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			if c.Bool("json") {
				return writeJSON(c.App.Writer, record{{"version", versionText()}, {"go", runtime.Version()}})
			}
			_, err := fmt.Fprintln(c.App.Writer, "credproxy", versionText())
			return err
		},
	}
}

// versionText falls back on what the Go tool recorded when the linker set nothing.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return "dev"
	}
	return "dev-" + revision + dirty
}
