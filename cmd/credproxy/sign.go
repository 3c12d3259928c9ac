package main

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"credproxy/cmd/credproxy/config"
	"credproxy/restore"
)

// signCommand is for the day on which a secret is introduced or changed. It may run beside the proxy, as the row of a session
// is locked while its payloads are signed.
func signCommand() *cli.Command {
	return &cli.Command{
		Name:   "sign",
		Usage:  "sign saved payloads in Postgres that restore.secret has not signed; trusts those without any signature",
		Flags:  []cli.Flag{configFlag(), jsonFlag()},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			cfg, err := config.Load(c.String("config"))
			if err != nil {
				return err
			}
			store, err := restore.Open(c.Context, storeConfig(cfg.Restore, newLogger(c.App.ErrWriter, cfg.Log)))
			if err != nil {
				return err
			}
			defer store.Close()
			signed, refused, err := store.Sign(c.Context)
			if c.Bool("json") {
				err = errors.Join(err, writeJSON(c.App.Writer, record{{"signed", signed}, {"refused", refused}}))
			} else {
				fmt.Fprintf(c.App.Writer, "signed %d payloads\n", signed)
			}
			if err == nil && refused > 0 {
				err = fmt.Errorf("sign payloads: %d have a signature that is not valid and stay as they are, the log names them", refused)
			}
			return err
		},
	}
}

// storeConfig is the configuration of the durable side in its own terms.
func storeConfig(c config.Restore, log hclog.Logger) restore.Config {
	return restore.Config{DSN: c.Postgres, Source: c.Source, SimpleProtocol: c.Pooler, Logger: log.Named("restore"),
		Signing: restore.Signing{Secret: c.Signing.Secret, Previous: c.Signing.Previous, AcceptUnsigned: c.Signing.AcceptUnsigned}}
}
