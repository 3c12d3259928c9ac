package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"credproxy/cmd/credproxy/config"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:   "run",
		Usage:  "run the proxy until SIGTERM; SIGHUP reads the configuration again",
		Flags:  []cli.Flag{configFlag()},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			cfg, err := config.Load(c.String("config"))
			if err != nil {
				return err
			}
			return serve(c.Context, cfg, newLogger(c, cfg.Log))
		},
	}
}

// newLogger writes to stderr: stdout stays free for what a command prints.
func newLogger(c *cli.Context, cfg config.Log) hclog.Logger {
	return hclog.NewInterceptLogger(&hclog.LoggerOptions{
		Name:       "credproxy",
		Level:      hclog.LevelFromString(cfg.Level),
		JSONFormat: cfg.Format == "json",
		Output:     c.App.ErrWriter,
	})
}

// serve runs the proxy until a signal, and drains.
func serve(ctx context.Context, cfg config.Config, log hclog.Logger) error {
	// SIGHUP is taken from the very start: its default would end a proxy that is about to be ready.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	defer stop()
	in, err := start(ctx, cfg, log)
	if err != nil {
		return err
	}
	for {
		select {
		case <-hup:
			reloadLogged(in)
		case err := <-in.failed():
			log.Error("ending", "error", err)
			if late := in.shutdown(context.Background()); late != nil {
				log.Error("not everything is saved", "error", late)
			}
			return err
		case <-ctx.Done():
			log.Info("draining")
			if err := in.shutdown(context.Background()); err != nil {
				return err
			}
			log.Info("everything is saved")
			return nil
		}
	}
}

// reloadLogged keeps the old configuration in effect when the new one is wrong.
func reloadLogged(in *instance) {
	ignored, err := in.reload()
	switch {
	case err != nil:
		for _, line := range strings.Split(err.Error(), "\n") {
			in.log.Error("configuration not reloaded", "error", line)
		}
	case len(ignored) > 0:
		in.log.Warn("configuration reloaded, but some of it needs a restart", "unchanged", strings.Join(ignored, ", "))
	default:
		in.log.Info("configuration reloaded")
	}
}
