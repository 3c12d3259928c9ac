package main

import (
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
		Flags:  []cli.Flag{configFlag()},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			cfg, err := config.Load(c.String("config"))
			if err != nil {
				return err
			}
			_, err = c.App.Writer.Write(cfg.Render())
			return err
		},
	}
}
