package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// healthCommand is what a container's health check runs: an image with nothing but the program has no curl, and the
// admin pages ask for no password.
func healthCommand() *cli.Command {
	return &cli.Command{
		Name:  "health",
		Usage: "ask the admin pages whether a proxy is alive; exit 0 if it is",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "admin", Value: "127.0.0.1:9180", Usage: "where admin.listen is, `HOST:PORT`"},
			&cli.BoolFlag{Name: "ready", Usage: "ask whether clients are served without trouble, too"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "give up after `TIME`"},
		},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			page := "/healthz"
			if c.Bool("ready") {
				page = "/readyz"
			}
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			status, err := askHealth(ctx, "http://"+c.String("admin")+page)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.App.Writer, status)
			return err
		},
	}
}

// askHealth returns the status that the page gives; a proxy that is not well is an error with its reasons.
func askHealth(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", usageError{fmt.Sprintf("health: %v", err)}
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for health: %w", err)
	}
	defer reply.Body.Close()
	var page struct {
		Status  string
		Reasons []struct{ Text string }
	}
	const most = 1 << 20
	if err := json.NewDecoder(io.LimitReader(reply.Body, most)).Decode(&page); err != nil {
		return "", fmt.Errorf("read health: %s answers with %s and no JSON; is it a credproxy's admin.listen?", req.URL.Host, reply.Status)
	}
	if reply.StatusCode != http.StatusOK {
		texts := make([]string, 0, len(page.Reasons))
		for _, r := range page.Reasons {
			texts = append(texts, r.Text)
		}
		return "", fmt.Errorf("the proxy is %s: %s", page.Status, strings.Join(texts, " "))
	}
	return page.Status, nil
}
