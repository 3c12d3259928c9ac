package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"github.com/urfave/cli/v2"

	"credproxy/internal/certs"
)

// tlsFlags are called as redis-cli calls them.
func tlsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "tls", Usage: "speak TLS"},
		&cli.StringFlag{Name: "cacert", Usage: "PEM `FILE` of the authorities to trust (default: the system's)"},
		&cli.StringFlag{Name: "cert", Usage: "PEM `FILE` of a certificate of your own, for a proxy that wants one"},
		&cli.StringFlag{Name: "key", Usage: "PEM `FILE` of its key"},
		&cli.StringFlag{Name: "sni", Usage: "the `NAME` that the proxy's certificate must be for (default: the host of --addr)"},
		&cli.BoolFlag{Name: "insecure", Usage: "believe any certificate"},
	}
}

// tlsConfig is what the flags ask for; nil: no TLS.
func tlsConfig(c *cli.Context) (*tls.Config, error) {
	addr := c.String("addr")
	if !c.Bool("tls") {
		for _, name := range []string{"cacert", "cert", "key", "sni", "insecure"} {
			if c.IsSet(name) {
				return nil, usagef("%s: --%s needs --tls", c.Command.Name, name)
			}
		}
		return nil, nil
	}
	if strings.HasPrefix(addr, "unix:") {
		return nil, usagef("%s: no TLS on the Unix socket %s: leave --tls out", c.Command.Name, addr)
	}
	if c.IsSet("cert") != c.IsSet("key") {
		return nil, usagef("%s: --cert and --key go together", c.Command.Name)
	}
	source, err := certs.Open(certs.Files{Cert: c.String("cert"), Key: c.String("key"), CA: c.String("cacert")}, nil)
	if err != nil {
		return nil, fmt.Errorf("prepare TLS: %w", err)
	}
	name := c.String("sni")
	if name == "" {
		name, _, _ = net.SplitHostPort(addr) // an address without a port fails when it is dialled
	}
	config := source.Client(name)
	config.InsecureSkipVerify = c.Bool("insecure")
	return config, nil
}
