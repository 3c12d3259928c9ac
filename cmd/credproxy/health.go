package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"credproxy/internal/admin"
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
			jsonFlag(),
		},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			path := "/healthz"
			if c.Bool("ready") {
				path = "/readyz"
			}
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			page, err := askHealth(ctx, "http://"+c.String("admin")+path)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return errors.Join(writeJSON(c.App.Writer, page), page.problem())
			}
			if err := page.problem(); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.App.Writer, page.Status)
			return err
		},
	}
}

// healthPage is what the admin pages answer.
type healthPage struct {
	Status  string          `json:"status"`
	Reasons []admin.Finding `json:"reasons"`
	well    bool
}

// problem is an error with the reasons if the proxy is not well.
func (p *healthPage) problem() error {
	if p.well {
		return nil
	}
	texts := make([]string, 0, len(p.Reasons))
	for _, r := range p.Reasons {
		texts = append(texts, r.Text)
	}
	return fmt.Errorf("the proxy is %s: %s", p.Status, strings.Join(texts, " "))
}

func askHealth(ctx context.Context, url string) (*healthPage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, usageError{fmt.Sprintf("health: %v", err)}
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for health: %w", err)
	}
	defer reply.Body.Close()
	page := &healthPage{Reasons: []admin.Finding{}, well: reply.StatusCode == http.StatusOK}
	const most = 1 << 20
	if err := json.NewDecoder(io.LimitReader(reply.Body, most)).Decode(page); err != nil {
		return nil, fmt.Errorf("read health: %s answers with %s and no JSON; is it a credproxy's admin.listen?", req.URL.Host, reply.Status)
	}
	return page, nil
}
