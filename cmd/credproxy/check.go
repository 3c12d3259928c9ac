package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"credproxy/cmd/credproxy/config"
)

// configFlag names the file for the commands that read it; the others ask a running proxy instead.
func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Value: "proxy.hcl", Usage: "the configuration `FILE`"}
}

// checkCommand is what a deployment runs before it replaces the file of a running proxy.
func checkCommand() *cli.Command {
	return &cli.Command{
		Name:   "check",
		Usage:  "validate the configuration and print what is in effect, without secrets",
		Flags:  []cli.Flag{configFlag(), jsonFlag()},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			path := c.String("config")
			cfg, err := config.Load(path)
			if c.Bool("json") {
				return errors.Join(writeJSON(c.App.Writer, judged(path, cfg, err)), err)
			}
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", w)
			}
			_, err = c.App.Writer.Write(cfg.Render())
			return err
		},
	}
}

// judged is what check says to programs: whether the file is good, what is wrong with it, what is in effect.
func judged(path string, cfg config.Config, err error) record {
	rec := record{{"file", path}, {"valid", err == nil}}
	if err == nil {
		return append(rec, record{{"effective", string(cfg.Render())}, {"warnings", listed(cfg.Warnings)}}...)
	}
	var problems config.Problems
	if !errors.As(err, &problems) {
		problems = config.Problems{{File: path, Text: err.Error()}}
	}
	return append(rec, record{{"problems", listed(problems)}}...)
}

func listed(problems config.Problems) []record {
	list := []record{}
	for _, p := range problems {
		list = append(list, record{{"file", p.File}, {"line", p.Line}, {"text", p.Text}})
	}
	return list
}
