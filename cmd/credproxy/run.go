package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"credproxy/cmd/credproxy/config"
	"credproxy/internal/sdnotify"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:   "run",
		Usage:  "run the proxy until SIGTERM; SIGHUP reads the configuration again, SIGUSR2 lets a new process take over",
		Flags:  []cli.Flag{configFlag()},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			cfg, err := config.Load(c.String("config"))
			if err != nil {
				return err
			}
			out := &barred{out: c.App.ErrWriter}
			return serve(c.Context, cfg, newLogger(out, cfg.Log), out)
		},
	}
}

// newLogger is for stderr: stdout stays free for what a command prints.
func newLogger(out io.Writer, cfg config.Log) hclog.Logger {
	return hclog.NewInterceptLogger(&hclog.LoggerOptions{
		Name:       "credproxy",
		Level:      hclog.LevelFromString(cfg.Level),
		JSONFormat: cfg.Format == "json",
		Output:     out,
	})
}

// service is a running proxy and the service manager that watches it.
type service struct {
	in      *instance
	log     hclog.Logger
	screen  *barred // where the log goes
	manager *sdnotify.Notifier
	stopped *stops
}

// serve runs the proxy until a signal, and drains.
func serve(ctx context.Context, cfg config.Config, log hclog.Logger, screen *barred) error {
	// They are taken from the very start: their default would end a proxy that is about to be ready.
	hup, usr2 := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	signal.Notify(usr2, syscall.SIGUSR2)
	defer signal.Stop(usr2)
	stopped := watchStops(ctx)
	defer stopped.end()
	before, err := findPredecessor(log)
	if err != nil {
		return err
	}
	sockets, err := sdnotify.Listeners()
	if err != nil {
		return err
	}
	in, err := startFrom(stopped.once, cfg, log, sources{before, sockets})
	if err != nil {
		return err
	}
	s := &service{in: in, log: log, screen: screen, manager: sdnotify.FromEnv(before != nil), stopped: stopped}
	s.tell(sdnotify.Ready, sdnotify.MainPID(os.Getpid()), sdnotify.Status("serving on "+in.addr()))
	dog := s.startWatchdog()
	defer dog.stop()
	return s.run(hup, usr2)
}

func (s *service) run(hup, usr2 <-chan os.Signal) error {
	for {
		select {
		case <-hup:
			s.reload()
		case <-usr2:
			if s.handOver() {
				return nil
			}
		case err := <-s.in.failed():
			s.log.Error("ending", "error", err)
			if late := s.drain(); late != nil {
				s.log.Error("not everything is saved", "error", late)
			}
			return err
		case <-s.stopped.once.Done():
			s.log.Info("draining")
			if err := s.drain(); err != nil {
				return err
			}
			s.log.Info("everything is saved")
			return nil
		}
	}
}

// tell tells the service manager; the proxy works without.
func (s *service) tell(lines ...string) {
	if err := s.manager.Send(lines...); err != nil {
		s.log.Warn("systemd was not told", "error", err)
	}
}

// reload keeps the old configuration in effect when the new one is wrong.
func (s *service) reload() {
	s.tell(sdnotify.Reloading())
	defer s.tell(sdnotify.Ready)
	ignored, err := s.in.reload()
	switch {
	case err != nil:
		for _, line := range strings.Split(err.Error(), "\n") {
			s.log.Error("configuration not reloaded", "error", line)
		}
	case len(ignored) > 0:
		s.log.Warn("configuration reloaded, but some of it needs a restart", "unchanged", strings.Join(ignored, ", "))
	default:
		s.log.Info("configuration reloaded")
	}
}

// handOver reports whether another process serves now.
func (s *service) handOver() bool {
	s.tell(sdnotify.Status("starting a new process, to take over"))
	next, err := s.in.handOver(s.stopped.once)
	if err != nil {
		s.log.Error("not handed over, going on as before", "error", err)
		s.tell(sdnotify.Status("serving on " + s.in.addr() + "; the last handover failed, see the log"))
		return false
	}
	s.tell(sdnotify.MainPID(next.cmd.Process.Pid))
	s.in.retire(s.stopped.once, next)
	return true
}

// drain saves everything, at most for shutdown_timeout, or until somebody asks a second time.
func (s *service) drain() error {
	s.tell(sdnotify.Stopping, sdnotify.Status("saving what is unsaved"))
	defer s.reportSaving()()
	over := make(chan error, 1)
	go func() { over <- s.in.shutdown(context.Background()) }()
	select {
	case err := <-over:
		return err
	case <-s.stopped.twice: // the process ends with what shutdown is at
		return fmt.Errorf("end at once, as asked twice: %d keys are not in Postgres, they stay marked in Redis and are saved at the next start",
			s.in.server.Unsaved())
	}
}
